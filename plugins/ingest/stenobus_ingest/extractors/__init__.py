"""One module per format. They run in a process of their own, which holds nothing but one document."""
