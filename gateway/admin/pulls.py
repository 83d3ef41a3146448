"""Pull counters and traffic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import Field

from gateway.admin.forms import Nothing, Page, PageQuery, Query, View
from gateway.admin.operations import AnyOperation, Call, Operation
from gateway.admin.parsing import decode_cursor, encode_cursor
from gateway.admin.registries import find_registry
from gateway.errors import ClientError, NothingKnown, ValueRefused
from gateway.model.names import RepositoryName, Tag
from gateway.ports.pulls import RepositoryPulls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.ports.metadata import Registry
    from gateway.ports.pulls import Day

_MOST_TAGS = 1000
_LARGEST = 2**63 - 1
_MOST_DAYS = 3660


class DaysQuery(Query):
    """How much of a history is wanted."""

    days: int = Field(90, ge=1, le=_MOST_DAYS, description="How many days back.")


class ImagePulls(View):
    """How often an image was pulled."""

    repository: str
    pulls: int
    last_pulled: datetime | None


class ImagePullsPage(Page[ImagePulls]):
    """Images, those that were pulled most first."""


class TagFigures(View):
    """What came through a tag."""

    tag: str
    pulls: int = Field(description="Of the image that it points at; of an index, the sum of its images.")
    resolutions: int = Field(description="How often it was asked for, by GET or HEAD.")
    last_pulled: datetime | None = Field(description="When it was last asked for.")


class DayFigure(View):
    """What was counted on one day."""

    day: datetime = Field(description="Its begin, in UTC.")
    count: int


class ImageDetail(ImagePulls):
    """How often an image was pulled, through which tags, and when."""

    tags: list[TagFigures] = Field(description=f"The first {_MOST_TAGS} in ASCII order.")
    history: list[DayFigure] = Field(description="Pulls by the day, the latest first; days without any are left out.")


class TagHistory(View):
    """When a tag was asked for."""

    tag: str
    history: list[DayFigure]


class Hour(View):
    """Bytes of blobs in one hour."""

    hour: datetime
    proxied: int = Field(description="Sent by Slipway.")
    redirected: int = Field(description="Offered by redirects.")


class TrafficHistory(View):
    """Bytes of blobs by the hour, the latest first; hours without any are left out."""

    hours: list[Hour]


async def list_pulls(call: Call[PageQuery, Nothing]) -> ImagePullsPage:
    """List a registry's images, those that were pulled most first."""
    registry = await _registry(call)
    found = await call.services.pulls.top_repositories(registry, call.query.limit + 1, _place(call.query.cursor))
    page = found[: call.query.limit]
    after = encode_cursor(f"{page[-1].pulls}.{page[-1].repository_id}") if len(found) > len(page) else None
    return ImagePullsPage(items=[_image(each) for each in page], next=after)


async def get_pulls(call: Call[DaysQuery, Nothing]) -> ImageDetail:
    """Show how often an image was pulled, through which tags, and when."""
    image = await _repository(call)
    tags = await call.services.pulls.tags(image, "", _MOST_TAGS)
    history = await call.services.pulls.history(image, _since(call))
    return ImageDetail(
        **_image(image).model_dump(),
        tags=[
            TagFigures(tag=each.tag, pulls=each.pulls, resolutions=each.resolutions, last_pulled=each.last_pulled_at)
            for each in tags
        ],
        history=_days(history),
    )


async def list_days(call: Call[DaysQuery, Nothing]) -> list[DayFigure]:
    """Return when an image was pulled, for who does not want to know its tags."""
    image = await _repository(call)
    return _days(await call.services.pulls.history(image, _since(call)))


async def get_tag_history(call: Call[DaysQuery, Nothing]) -> TagHistory:
    """Show when a tag was asked for."""
    image = await _repository(call)
    try:
        tag = Tag.parse(call.variables["tag"])
    except ClientError as error:
        raise NothingKnown(f"the image {image.repository} has no such tag") from error
    return TagHistory(tag=str(tag), history=_days(await call.services.pulls.tag_history(image, tag, _since(call))))


async def get_traffic(call: Call[DaysQuery, Nothing]) -> TrafficHistory:
    """Show how many bytes of blobs a registry has delivered."""
    found = await call.services.pulls.traffic(await _registry(call), _since(call))
    return TrafficHistory(
        hours=[Hour(hour=each.hour, proxied=each.proxied, redirected=each.redirected) for each in found]
    )


async def _registry(call: Call[PageQuery, Nothing] | Call[DaysQuery, Nothing]) -> Registry:
    return (await find_registry(call.services, call.caller, call.variables["registry"])).registry


async def _repository(call: Call[DaysQuery, Nothing]) -> RepositoryPulls:
    registry, name = await _registry(call), call.variables["repository"]
    try:
        return await call.services.pulls.repository(registry, RepositoryName.parse(name))
    except ClientError as error:
        raise NothingKnown(f"the registry {call.variables['registry']} has no image {name}") from error


def _since(call: Call[DaysQuery, Nothing]) -> datetime:
    return datetime.now(UTC) - timedelta(days=call.query.days)


def _place(cursor: str | None) -> RepositoryPulls | None:
    text = decode_cursor(cursor)
    if text is None:
        return None
    numbers = text.split(".")
    if len(numbers) != 2 or not all(n.isascii() and n.isdigit() and int(n[:20]) <= _LARGEST for n in numbers):  # noqa: PLR2004
        raise ValueRefused("this is no cursor: take `next` of the page before as it is", "cursor")
    return RepositoryPulls(int(numbers[1]), "", int(numbers[0]), None)


def _image(record: RepositoryPulls) -> ImagePulls:
    return ImagePulls(repository=record.repository, pulls=record.pulls, last_pulled=record.last_pulled_at)


def _days(history: Iterable[Day]) -> list[DayFigure]:
    return [DayFigure(day=each.day, count=each.count) for each in history]


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        name="listPulls",
        method="GET",
        path="/api/registries/{registry}/pulls",
        summary="List a registry's images, those that were pulled most first",
        handle=list_pulls,
        query=PageQuery,
        body=Nothing,
        answer=ImagePullsPage,
        errors=(NothingKnown,),
    ),
    Operation(
        name="getPulls",
        method="GET",
        path="/api/registries/{registry}/pulls/{repository}",
        summary="Show how often an image was pulled, through which tags, and when",
        handle=get_pulls,
        query=DaysQuery,
        body=Nothing,
        answer=ImageDetail,
        errors=(NothingKnown,),
    ),
    Operation(
        name="getTagHistory",
        method="GET",
        path="/api/registries/{registry}/pulls/{repository}/tags/{tag}",
        summary="Show when a tag was asked for",
        handle=get_tag_history,
        query=DaysQuery,
        body=Nothing,
        answer=TagHistory,
        errors=(NothingKnown,),
    ),
    Operation(
        name="getTraffic",
        method="GET",
        path="/api/registries/{registry}/traffic",
        summary="Show how many bytes of blobs a registry has delivered",
        handle=get_traffic,
        query=DaysQuery,
        body=Nothing,
        answer=TrafficHistory,
        errors=(NothingKnown,),
    ),
)
