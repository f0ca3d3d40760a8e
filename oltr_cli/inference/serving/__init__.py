"""A finished run as a server: requests in, verdicts out, batched together by one thread with the network."""
