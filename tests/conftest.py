"""No test has a time limit: on a busy machine the slow case is not the wrong one."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
