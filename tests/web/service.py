from pathlib import Path
from typing import Annotated

from fastapi import Body, Depends, FastAPI, Request

from seedream_async import AsyncSeedream, GenerateRequest, SeedreamError
from seedream_async.starlette import (
    attend,
    error_response,
    event_response,
    get_client,
    image_response,
    lifespan,
)

FOLDER = Path("images")

app = FastAPI(lifespan=lifespan(grace=20))
app.add_exception_handler(SeedreamError, error_response)
Client = Annotated[AsyncSeedream, Depends(get_client)]
Prompt = Annotated[str, Body(embed=True)]  # a query would be in the server's log


@app.post("/four")
async def four(prompt: Prompt, client: Client):
    """Four images, each as it arrives; whoever leaves has paid for them, so they are kept."""
    results = client.generate_many([GenerateRequest(prompt, size="2K")] * 4, save_to=FOLDER)
    return event_response(client, results, when_left="finish_and_store")


@app.post("/sketch")
async def sketch(prompt: Prompt, request: Request, client: Client):
    """One image, straight from its store; whoever leaves does not want it."""
    work = client.generate(prompt, size="2K")
    response = await attend(request, client, work, when_left="cancel")
    return image_response(client, response.images[0], filename=prompt)
