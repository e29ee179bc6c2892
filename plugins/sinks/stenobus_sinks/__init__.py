"""Knowledge bases elsewhere that listen to ``kb.sync``: a plugin each, in :mod:`stenobus_sinks.sinks`."""
