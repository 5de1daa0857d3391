"""Composition root of the catalog service."""

from signalbox_catalog.settings import CatalogSettings
from signalbox_common.runtime import Service, run


def build(settings: CatalogSettings) -> Service:
    return Service(settings)


def main() -> None:
    run(lambda: build(CatalogSettings()))


if __name__ == "__main__":
    main()
