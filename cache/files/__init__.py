"""Bytes on a disk or behind a URL: files that are whole or not there, and parts of files."""
