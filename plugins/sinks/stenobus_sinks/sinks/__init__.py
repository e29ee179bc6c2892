"""One package for each knowledge base; none knows another."""
