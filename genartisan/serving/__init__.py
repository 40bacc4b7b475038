"""What a server of pictures needs: requests, replies, limits, telemetry, its client, its start and its management."""
