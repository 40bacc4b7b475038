"""Clients of the endpoint: `genartisan.serving.client`'s public names, which need no PyTorch."""

from genartisan.serving.client import AsyncClient, Client, request, stream

__all__ = ["AsyncClient", "Client", "request", "stream"]
