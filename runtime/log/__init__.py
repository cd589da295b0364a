"""Task logs: one file per attempt. The scheduler's and the API's own logs are plain :mod:`logging`."""
