"""The report: one folder of static pages that anyone can open."""
