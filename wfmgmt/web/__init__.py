"""The page: HTML for people over the services that the API uses, under `/ui/` on the management address."""
