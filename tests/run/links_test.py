import pytest

from mmdist.run import links

NAMES = ('config.json', 'checkpoints', 'turntable.*')


@pytest.fixture(name='folder')
def fixture_folder(tmp_path):
  folder = tmp_path / 'run'
  (folder / 'checkpoints' / '50').mkdir(parents=True)
  (tmp_path / 'outside').mkdir()
  (tmp_path / 'run-2').mkdir()
  return folder


@pytest.mark.parametrize(
  'name', ['config.json', 'turntable.mp4', 'checkpoints/50/arrays']
)
@pytest.mark.parametrize(
  'target', ['outside', 'outside/file', 'absent', 'run-2', '.']
)
def test_a_link_out_of_the_folder_is_named(folder, tmp_path, name, target):
  (folder / name).symlink_to(tmp_path / target)
  with pytest.raises(ValueError, match=f'{name} is a link to .*') as caught:
    links.check_inside(folder, NAMES)
  assert '\n' not in str(caught.value)


def test_a_relative_link_out_of_the_folder_is_named(folder):
  (folder / 'config.json').symlink_to('../outside')
  with pytest.raises(ValueError, match=r'a link to \.\./outside'):
    links.check_inside(folder, NAMES)


def test_a_link_to_itself_is_named(folder):
  (folder / 'config.json').symlink_to('config.json')
  with pytest.raises(ValueError, match='config.json is a link'):
    links.check_inside(folder, NAMES)


def test_a_folder_that_is_a_link_may_hold_links_within(folder, tmp_path):
  (folder / 'config.json').symlink_to('checkpoints/50')
  (folder / 'notes').symlink_to(tmp_path / 'outside')
  (tmp_path / 'link').symlink_to(folder)
  links.check_inside(tmp_path / 'link', NAMES)
  links.check_inside(tmp_path / 'absent', NAMES)
