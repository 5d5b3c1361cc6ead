"""HTTP and SSE: turns, duels, votes, sign-in; the engine pool and the hot swap."""
