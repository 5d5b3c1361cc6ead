"""Trainer: a library and a command line that turn folders into folders; no Redis, no Celery, no web."""
