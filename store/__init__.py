"""State that processes share: records, Redis keys and streams, artifact folders."""
