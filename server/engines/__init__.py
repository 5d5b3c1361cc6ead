"""vLLM engines: one client each, a pool that routes, a reconciler that swaps."""
