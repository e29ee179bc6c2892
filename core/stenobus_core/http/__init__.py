"""HTTP interfaces of plugins: keys, a guard around each request, a pace, figures. Needs ``stenobus-core[http]``."""
