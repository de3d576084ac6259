"""What memory is left is the least of all limits: of the control group, of those above it, and of the process."""

import resource
from pathlib import Path

import pytest

from cache import available_host_bytes
from cache.loading.control_groups import memory_left

GB = 1 << 30
NO_LIMIT = 9223372036854771712  # what version 1 says without one


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{content}\n")


def version_2(folder, limit="max", used=0, high="max", inactive=0):
    statistics = f"anon 5\ninactive_file {inactive}\nactive_file 7"
    group(folder, memory_max=limit, memory_high=high, memory_current=used, memory_stat=statistics)


def version_1(folder, limit=NO_LIMIT, used=0, above=NO_LIMIT, inactive=0):
    statistics = f"hierarchical_memory_limit {above}\ninactive_file 1\ntotal_inactive_file {inactive}"
    group(folder, memory_limit_in_bytes=limit, memory_usage_in_bytes=used, memory_stat=statistics)


def test_no_group_and_no_limit_are_no_limit(tmp_path):
    assert memory_left(tmp_path, "0::/\n") is None
    version_2(tmp_path / "a")
    assert memory_left(tmp_path, "0::/a\n") is None
    assert memory_left(tmp_path, "1:name=systemd:/a\n3:cpu,cpuacct:/a\n") is None


def test_the_limit_of_the_own_group_counts(tmp_path):
    version_2(tmp_path / "a", 4 * GB, GB, inactive=100)
    assert memory_left(tmp_path, "0::/a\n") == 3 * GB + 100


@pytest.mark.parametrize(
    "limited", ["", "user.slice", "user.slice/user-1.slice", "user.slice/user-1.slice/job:1"]
)
@pytest.mark.parametrize("version", [version_1, version_2])
def test_the_limit_of_any_group_above_counts(tmp_path, limited, version):
    mount = tmp_path / "memory" if version is version_1 else tmp_path
    for folder in ("", "user.slice", "user.slice/user-1.slice", "user.slice/user-1.slice/job:1"):
        version(mount / folder)
    version(mount / limited, 2 * GB, GB)
    line = "9:memory:" if version is version_1 else "0::"
    assert memory_left(tmp_path, f"3:cpu:/elsewhere\n{line}/user.slice/user-1.slice/job:1\n") == GB


def test_the_tightest_group_counts_and_not_the_smallest_limit(tmp_path):
    version_2(tmp_path / "a", 8 * GB, 7 * GB)
    version_2(tmp_path / "a/b", 4 * GB, GB)
    assert memory_left(tmp_path, "0::/a/b\n") == GB


def test_being_slowed_down_is_a_limit(tmp_path):
    version_2(tmp_path / "a", 8 * GB, GB, high=2 * GB)
    assert memory_left(tmp_path, "0::/a\n") == GB


def test_more_used_than_allowed_leaves_nothing(tmp_path):
    version_2(tmp_path / "a", GB, 2 * GB)
    assert memory_left(tmp_path, "0::/a\n") == 0


@pytest.mark.parametrize("path", ["/", "/../..", "/docker/0123", "/../other/job"])
@pytest.mark.parametrize("version", [version_1, version_2])
def test_a_container_that_sees_only_its_own_group_as_root_keeps_to_it(tmp_path, path, version):
    version(tmp_path / "memory" if version is version_1 else tmp_path, 2 * GB, GB)
    line = "9:memory:" if version is version_1 else "0::"
    assert memory_left(tmp_path, f"{line}{path}\n") == GB


def test_limits_of_groups_that_are_not_seen_are_known_from_the_statistics_of_version_1(tmp_path):
    version_1(tmp_path / "memory", used=GB, above=3 * GB)
    assert memory_left(tmp_path, "9:memory:/../..\n") == 2 * GB


def test_both_versions_beside_each_other(tmp_path):
    version_1(tmp_path / "memory/a", 2 * GB, GB)
    version_2(tmp_path / "unified/b", 3 * GB, GB)
    assert memory_left(tmp_path, "9:cpu,memory:/a\n0::/b\n") == GB
    version_2(tmp_path / "unified/b", 3 * GB, 3 * GB)
    assert memory_left(tmp_path, "9:memory:/a\n0::/b\n") == 0


@pytest.mark.parametrize("content", ["", "nonsense", "-1 2"])
def test_files_that_are_damaged_are_no_limit(tmp_path, content):
    group(tmp_path / "a", memory_max=content, memory_current=content, memory_stat=content)
    assert memory_left(tmp_path, "0::/a\n") is None


def test_a_limited_address_space_is_a_limit():
    before = resource.getrlimit(resource.RLIMIT_AS)
    unlimited = available_host_bytes()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), before[1]))
    try:
        assert 0 < available_host_bytes() <= 1 << 28
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert unlimited > 0
