"""Somebody who has never seen the product, a browser and docker: from signing in to undoing a deletion.

Whatever is typed into a shell is read from the pages, and every button is found by what is written on it.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from console.chromium.visiting import visit
from console.demo import PUBLIC, demo_server
from e2e.engines import Docker
from e2e.images import MEBIBYTE, image_of, layer_of, noise, small_image
from e2e.processes import CommandFailedError
from gateway.console.texts import texts_of
from support.postgres import new_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Browser, Locator, Page

    from console.demo import Demo
    from gateway.console.texts import Texts
    from support.databases import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

REGISTRY = "first"
FIRST = image_of([layer_of({"hello": noise("first", 3 * MEBIBYTE)}, level=0)], "arm64")
HOSTILE = """\
**Bold.** <script>document.title = "run"</script> <img src=x onerror="document.title='run'">
[link](javascript:document.title='run') ![picture](http://elsewhere.test/spy.png)
<svg onload="document.title='run'"></svg> <iframe src="/console/"></iframe>

[more](http://elsewhere.test/ "x' onmouseover='document.title=1")
"""
_LIVELY = "script, img, svg, iframe, object, form, style, [onerror], [onload], [onmouseover], [href^='javascript:' i]"
_SECONDS = 60


@dataclass
class Story:
    """One who tells it, in one language."""

    page: Page
    docker: Docker
    demo: Demo
    t: Texts

    @property
    def image(self) -> str:
        return f"{REGISTRY}.{PUBLIC}:{self.demo.port}/hello"

    def button(self, text: str, **values: str) -> Locator:
        return self.page.get_by_role("button", name=self.t(text, **values), exact=True)

    def link(self, text: str, **values: str) -> Locator:
        return self.page.get_by_role("link", name=self.t(text, **values), exact=True)

    async def is_told(self, text: str, **values: str) -> None:
        await expect(self.page.get_by_role("status")).to_have_text(self.t(f"said.{text}", **values))

    async def commands(self) -> list[str]:
        """Return what the page says to type into a shell."""
        return "\n".join(await self.page.locator(".commands code").all_inner_texts()).splitlines()

    async def follow(self, command: str) -> str:
        """Type a command as it stands on the page."""
        program, *arguments = shlex.split(command)
        assert program == "docker"
        if arguments[0] == "login":
            return await asyncio.to_thread(self.docker.log_in, *arguments, password=self.demo.keys["root"].secret)
        return await asyncio.to_thread(self.docker, *arguments)


@contextmanager
def engine_at(demo: Demo) -> Iterator[Docker]:
    """Start a Docker engine that finds the registry's host, which is in no DNS, by way of the server itself."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-story-"))
    hosts = [f"{REGISTRY}.{PUBLIC}:{demo.port}"]
    engine = Docker(folder / "docker", proxy=f"http://127.0.0.1:{demo.port}", plain_hosts=hosts)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder)


@pytest.mark.parametrize("language", ["en", "ko"])
async def test_the_whole_story(browser: Browser, embedded_server: Server, tmp_path: Path, language: str) -> None:
    """Everything that a person sees works in both languages, and nothing that a page contains runs."""
    url = await asyncio.to_thread(new_database, embedded_server.dsn, f"story_{language}")
    with demo_server(tmp_path, url) as demo, engine_at(demo) as docker:
        # Signing in is part of every visit.
        async with visit(browser, demo, "root", language=language) as (page, _):
            story = Story(page, docker, demo, texts_of(language))
            await create_a_registry(story)
            await push_the_first_image(story)
            await see_it_and_pull_it(story)
            await describe_it_with_hostility(story)
            await protect_its_tags(story)
            await delete_and_restore_the_tag(story)
            await delete_and_restore_the_image(story)


async def create_a_registry(story: Story) -> None:
    page, t = story.page, story.t
    await expect(page.get_by_role("heading", name=t("registry.none"))).to_be_visible()
    await page.locator(".empty").get_by_role("link", name=t("registry.new")).click()
    await page.get_by_label(t("registry.name"), exact=True).fill(REGISTRY)
    await page.get_by_label(t("registry.bucket"), exact=True).fill("first-images")
    await story.button("registry.create").click()
    await story.is_told("registry_created", name=REGISTRY)


async def push_the_first_image(story: Story) -> None:
    """Do what the page says, but for fetching an image from the Internet."""
    t = story.t
    await expect(story.page.get_by_role("heading", name=t("images.empty.heading"))).to_be_visible()
    commands = await story.commands()
    assert [each.split()[1] for each in commands] == ["login", "pull", "tag", "push"]
    _, _, fetched = commands[1].split()
    await asyncio.to_thread(story.docker.load, FIRST, f"{fetched}:latest")
    for command in (commands[0], *commands[2:]):
        await story.follow(command)


async def see_it_and_pull_it(story: Story) -> None:
    page, t = story.page, story.t
    await page.reload()
    await page.get_by_role("link", name="hello", exact=True).click()
    row = page.get_by_role("row", name="latest")
    await expect(row).to_contain_text("3.0 MiB")
    await expect(row).to_contain_text("linux/arm64")
    assert await pulls_of(story) == "0"

    (command,) = await story.commands()
    assert command == f"docker pull {story.image}:latest"
    await asyncio.to_thread(story.docker.forget, FIRST.id)
    await story.follow(command)
    assert await asyncio.to_thread(story.docker.image_id, f"{story.image}:latest") == FIRST.id
    async with asyncio.timeout(_SECONDS):  # pulls are written once a second
        while await pulls_of(story) != "1":
            await page.reload()
    await story.link("nav.images").first.click()
    await expect(page.get_by_role("row", name="hello").locator(f"[data-label='{t('images.pulls')}']")).to_have_text("1")
    await page.get_by_role("link", name="hello", exact=True).click()


async def pulls_of(story: Story) -> str:
    row = story.page.get_by_role("row", name="latest")
    return (await row.locator(f"[data-label='{story.t('images.pulls')}']").inner_text()).strip()


async def describe_it_with_hostility(story: Story) -> None:
    page, t = story.page, story.t
    await story.link("images.edit.button").click()
    await page.get_by_label(t("images.edit.short"), exact=True).fill("<script>document.title='run'</script>")
    await page.get_by_label(t("images.edit.full"), exact=True).fill(HOSTILE)
    await story.button("images.edit.preview").click()
    await expect(page.locator("#preview strong")).to_have_text("Bold.")
    await expect(page.locator(".markdown").locator(_LIVELY)).to_have_count(0)

    await story.button("save").click()
    await story.is_told("description_saved")
    shown = page.locator(".markdown")
    await expect(shown.locator("strong")).to_have_text("Bold.")
    await expect(shown).to_contain_text('<script>document.title = "run"</script>')
    await expect(page.locator(".lead")).to_have_text("<script>document.title='run'</script>")
    await expect(page.locator(".lead, .markdown").locator(_LIVELY)).to_have_count(0)
    await shown.get_by_role("link", name="more").hover()
    assert "hello" in await page.title()


async def protect_its_tags(story: Story) -> None:
    page, t = story.page, story.t
    await story.link("images.part.details").click()
    await story.button("images.mutability.protect").click()
    await story.is_told("tags_protected", name="hello")
    other = f"{story.image}:latest"
    await asyncio.to_thread(story.docker.load, small_image("another"), other)
    with pytest.raises(CommandFailedError) as refused:
        await story.follow(f"docker push {other}")
    assert (
        "existing tags of this image cannot be overwritten because the repository is immutable: latest; push under "
        "another tag, or have a manager delete the tag or switch tag mutability on"
    ) in str(refused.value)
    await expect(page.get_by_text(t("images.mutability.off"))).to_be_visible()


async def delete_and_restore_the_tag(story: Story) -> None:
    page, t = story.page, story.t
    await story.link("images.part.tags").click()
    await page.get_by_role("link", name=t("images.delete_tag", tag="latest")).click()
    await confirm(story, t("images.ask.tag", name="hello:latest"))
    await story.is_told("tag_deleted", name="hello:latest")
    await cannot_be_pulled(story)
    await restore(story, "hello:latest")


async def delete_and_restore_the_image(story: Story) -> None:
    page, t = story.page, story.t
    await page.get_by_role("navigation", name=t("nav.registry")).get_by_role("link", name=t("nav.images")).click()
    await page.get_by_role("checkbox", name=t("images.select_one", name="hello")).check()
    await story.button("images.delete_selected").click()
    await confirm(story, t("images.ask.image", name="hello"))
    await story.is_told("image_deleted", name="hello")
    await expect(page.get_by_role("heading", name=t("images.empty.heading"))).to_be_visible()
    await cannot_be_pulled(story)
    await restore(story, "hello")


async def confirm(story: Story, question: str) -> None:
    dialog = story.page.get_by_role("dialog", name=question)
    await dialog.get_by_role("button", name=story.t("images.ask.delete")).click()


async def cannot_be_pulled(story: Story) -> None:
    with pytest.raises(CommandFailedError, match=r"manifest unknown|not found"):
        await story.follow(f"docker pull {story.image}:latest")


async def restore(story: Story, name: str) -> None:
    """Find it among what was deleted, and see that it is whole again."""
    await story.link("nav.deleted").click()
    await story.button("images.deleted.restore_one", name=name).click()
    await story.is_told("restored_restored", name=name)
    await story.follow(f"docker pull {story.image}:latest")
    assert await asyncio.to_thread(story.docker.image_id, f"{story.image}:latest") == FIRST.id
