"""What `starlette` and `aiohttp_web` share: this end of the wire to a browser, of no framework."""
