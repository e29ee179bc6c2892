"""The monitor over HTTP; needs ``stenobus-monitor[http]``."""
