"""The emulator, driven over real sockets."""


async def test_counts_what_it_bills(emulator, client):
    """A group is billed per image."""
    await client.generate("a cat", sequential_image_generation="auto", max_images=3)

    assert emulator.images_billed == 3
    assert emulator.request_count == 1
