"""WordPress sites, by their REST API."""
