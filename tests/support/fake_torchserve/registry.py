"""The models that a fake knows, by name and version, and what its management API does with them."""

import asyncio
import json
import shutil
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.fake_torchserve.answers import INTERNAL, OwnError
from tests.support.fake_torchserve.models import Host, ModelSettings, ServedModel
from tests.support.model_servers import UnpackedMar, unpack_mar

PAGE = 100
IN_PROGRESS = "Processing worker updates..."

#: What was done, and the HTTP status that says how well.
Done = tuple[str, int]


class Registry:
    """Models by name, each in one or several versions.

    Args:
        host: What their workers come from.
        store: The model store.
        folder: Archives are unpacked below it.
    """

    def __init__(self, host: Host, store: Path, folder: Path) -> None:
        self._host = host
        self._registry = store
        self._folder = folder
        self._models: dict[str, dict[str, ServedModel]] = {}
        self._defaults: dict[str, str] = {}

    async def register(self, parameters: Mapping[str, str]) -> Done:
        """Register a model, and bring up its workers; what fails to load is not registered, unless nobody waits."""
        model = self._new_model(parameters)
        name, version = model.settings.name, model.settings.version
        versions = self._models.setdefault(name, {})
        if version in versions:
            raise OwnError(
                409, "ConflictStatusException", f"Model version {version} is already registered for model {name}"
            )
        versions[version] = model
        self._defaults.setdefault(name, version)
        workers = number_of(parameters, "initial_workers", 0)
        starting = model.scale(workers, workers)
        if not workers:
            hint = "Use scale workers API to add workers for the model."
            return f'Model "{name}" Version: {version} registered with 0 initial workers. {hint}', 200
        if parameters.get("synchronous", "true").lower() != "true":
            return IN_PROGRESS, 202
        if not all(await asyncio.gather(*(worker.came_up for worker in starting))):
            self._forget(model)
            raise _not_started(name, version)
        return f'Model "{name}" Version: {version} registered with {workers} initial workers', 200

    async def scale(self, name: str, version: str | None, parameters: Mapping[str, str]) -> Done:
        """Change the number of a model's workers; what fails to load stays, and is tried again."""
        model = self.find(name, version)
        minimum = number_of(parameters, "min_worker", 1)
        maximum = number_of(parameters, "max_worker", minimum)
        if maximum < minimum:
            raise OwnError(400, "BadRequestException", "max_worker cannot be less than min_worker.")
        starting = model.scale(minimum, maximum)
        if parameters.get("synchronous", "false").lower() != "true":
            return IN_PROGRESS, 202
        if not all(await asyncio.gather(*(worker.came_up for worker in starting))):
            raise _not_started(name, "null" if version is None else version)
        if not model.is_ready:
            return "Workers scaling in progress...", 206
        suffix = "" if version is None else f", version: {version}"
        return f"Workers scaled to {minimum} for model: {name}{suffix}", 200

    def unregister(self, name: str, version: str | None) -> Done:
        """Remove a model; its requests are never answered."""
        model = self.find(name, version)
        if model.settings.version == self._defaults[name] and len(self._models[name]) > 1:
            raise OwnError(403, "InvalidModelVersionException", f"Cannot remove default version for model {name}")
        self._forget(model)
        return f'Model "{name}" unregistered', 200

    def set_default(self, name: str, version: str) -> Done:
        """Make a version the one that is meant when none is named."""
        if version not in self._versions(name):
            raise _no_version(f"Model version {version} does not exist for model {name}")
        self._defaults[name] = version
        return f'Default version successfully updated for model "{name}" to "{version}"', 200

    def page(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Return some names and urls, and where the next ones begin."""
        limit = min(number_of(parameters, "limit", PAGE), PAGE)
        start = number_of(parameters, "next_page_token", 0)
        names = sorted(self._models)
        listed = [{"modelName": name, "modelUrl": self.find(name).settings.url} for name in names[start:][:limit]]
        more = {"nextPageToken": str(start + limit)} if start + limit < len(names) else {}
        return {**more, "models": listed}

    def describe(self, name: str, version: str | None) -> list[dict[str, Any]]:
        """Return the descriptions of a model's versions: of the default one, of the named one, or of all."""
        models = self._versions(name).values() if version == "all" else [self.find(name, version)]
        return [model.describe() for model in models]

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """Return a model; its default version unless one is named.

        Raises:
            OwnError: There is none.
        """
        versions = self._versions(name)
        wanted = self._defaults[name] if version is None else version
        if wanted not in versions:
            raise _no_version(f"Model version: {wanted} does not exist for model: {name}")
        return versions[wanted]

    def clear(self) -> None:
        """Forget everything, as a restart does."""
        for versions in list(self._models.values()):
            for model in list(versions.values()):
                self._forget(model)

    def _versions(self, name: str) -> dict[str, ServedModel]:
        if not self._models.get(name):
            raise OwnError(404, "ModelNotFoundException", f"Model not found: {name}")
        return self._models[name]

    def _new_model(self, parameters: Mapping[str, str]) -> ServedModel:
        archive = self._fetch(parameters)
        folder = self._folder / uuid.uuid4().hex
        unpacked = _unpack(archive, folder)
        told: dict[str, Any] = unpacked.manifest["model"] if unpacked is not None else {}
        settings = ModelSettings(
            name=parameters.get("model_name") or told.get("modelName", archive.stem),
            version=told.get("modelVersion", "1.0"),
            url=parameters["url"],
            batch_size=number_of(parameters, "batch_size", 1),
            max_batch_delay_ms=number_of(parameters, "max_batch_delay", 100),
            response_timeout_s=number_of(parameters, "response_timeout", 120),
            startup_timeout_s=number_of(parameters, "startup_timeout", 120),
        )
        return ServedModel(self._host, settings, folder, unpacked)

    def _fetch(self, parameters: Mapping[str, str]) -> Path:
        """Return the archive of a url, which is in the store or comes into it."""
        url = parameters.get("url")
        if url is None:
            raise OwnError(400, "BadRequestException", "Parameter url is required.")
        if url.startswith("file://"):
            return self._copy_into_store(url)
        if not url:
            raise _no_archive("empty url")
        if ".." in url:
            raise _no_archive(f"Relative path is not allowed in url: {url}")
        archive = self._registry / url.rpartition("/")[2]
        if not archive.is_file():
            raise _no_archive(f"Model not found at: {url}")
        return archive

    def _copy_into_store(self, url: str) -> Path:
        source = Path(unquote(urlsplit(url).path))
        if not source.is_file():
            raise OwnError(400, "DownloadArchiveException", f"Failed to download archive from: {url}")
        if (self._registry / source.name).exists():
            raise OwnError(500, INTERNAL, f"Model file already exists {source.name}")
        return Path(shutil.copy(source, self._registry))

    def _forget(self, model: ServedModel) -> None:
        settings = model.settings
        model.remove()
        versions = self._models.get(settings.name, {})
        if versions.get(settings.version) is model:
            del versions[settings.version]
        if not versions:
            self._models.pop(settings.name, None)
            self._defaults.pop(settings.name, None)
        if settings.url.startswith("file://"):
            (self._registry / Path(unquote(urlsplit(settings.url).path)).name).unlink(missing_ok=True)


def number_of(parameters: Mapping[str, str], name: str, default: int) -> int:
    """Return a parameter as a number; what is none, or negative, counts as not given."""
    text = parameters.get(name, "")
    return int(text) if text.isdecimal() else default


def _unpack(archive: Path, folder: Path) -> UnpackedMar | None:
    """Unpack an archive; None for what is no archive, which nobody notices before a worker is to load it."""
    try:
        with archive.open("rb") as content:
            return unpack_mar(content, folder)
    except zipfile.BadZipFile as error:
        if archive.read_bytes().startswith(b"PK"):
            raise OwnError(500, INTERNAL, f"Failed to save model: {archive.name}") from error
        return None
    except (OSError, KeyError, TypeError, json.JSONDecodeError):
        return None


def _no_archive(message: str) -> OwnError:
    return OwnError(404, "ModelNotFoundException", message)


def _no_version(message: str) -> OwnError:
    return OwnError(404, "ModelVersionNotFoundException", message)


def _not_started(name: str, version: str) -> OwnError:
    return OwnError(500, INTERNAL, f"Failed to start workers for model {name} version: {version}")
