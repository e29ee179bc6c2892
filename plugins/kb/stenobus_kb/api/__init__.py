"""The knowledge base over HTTP; needs ``stenobus-kb[http]``."""
