"""Puts what the server is configured by, which stays at the top for those who run it, into the wheel as well."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TARGET = "genartisan/serving/torchserve"  # genartisan/serving/archive.py looks there last


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source in ("config.properties", *map(str, Path("handlers").glob("*.*"))):
                target = Path(self.build_lib, TARGET, source)
                self.mkpath(str(target.parent))
                self.copy_file(source, str(target))


setup(cmdclass={"build_py": BuildPy})
