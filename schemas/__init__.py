"""Every shape that enters or leaves the service; the OpenAPI page is made from them."""
