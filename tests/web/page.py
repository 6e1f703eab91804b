"""
The README's service, with a page that asks for four images and shows each as it arrives.

`uvicorn --app-dir tests/web page:app --timeout-graceful-shutdown 5`, with COMETAPI_KEY.
"""

from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from service import FOLDER, app

PAGE = __file__.replace("page.py", "page.html")

FOLDER.mkdir(exist_ok=True)
app.mount("/images", StaticFiles(directory=FOLDER))


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(PAGE)
