"""The page in the browser: `genartisan ui`. It calls the endpoint as any other client does, and needs no PyTorch."""
