"""What a job can be."""

from __future__ import annotations

#: A job that is one of these goes on by itself; `waiting` is for the next attempt after a failure.
OPEN_STATUSES = ("queued", "running", "waiting", "delivering")
#: Every job ends as one of these, and `retry` opens those of the second list again.
END_STATUSES = ("delivered", "rejected", "failed", "cancelled", "replaced")
RETRYABLE_STATUSES = ("rejected", "failed", "cancelled")
