"""One module per DVC stage, and the `concord` command line."""
