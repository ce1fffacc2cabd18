"""Wrong names, options, numbers and files: exit code 2 and one line that helps."""

import pytest

# Names, options, numbers.

WRONG = [
    ("run --defense standart", "unknown defense 'standart'; did you mean standard?", "meta_adv"),
    ("run --attacks pgd_lin", "unknown attack 'pgd_lin'; did you mean pgd_linf", "list attacks"),
    ("run --attacks 'zzz*'", "unknown attack 'zzz*'", "did you mean ", "list attacks"),
    ("run --attacks family:linf", "unknown family of attacks 'linf'", "linf-gradient"),
    ("run --dataset minst", "unknown data set 'minst'; did you mean mnist?", "digits"),
    ("run --network resnet1", "unknown network 'resnet1'; did you mean resnet18", "small_cnn"),
    ("run --suite mein", "unknown suite 'mein'; did you mean main"),
    ("run --suite ../main", "unknown suite '../main'"),
    ("run --adapt fintune", "unknown adaptation method 'fintune'; did you mean finetune", "norm"),
    ("run --knowledge simulate", "unknown knowledge 'simulate'; did you mean simulated?"),
    ("run --defense 'meta_adv[attacks=pgd]'", "unknown attack 'pgd'"),
    ("run --defense 'checkpoint[path=x,trained_on=linf]'", "unknown family", "linf-gradient"),
    ("run --attacks 'fgsm[epsilon=0.1]'", "unknown option of fgsm 'epsilon'", "Known: eps, loss"),
    ("run --attacks 'fgsm[eps=big]'", "fgsm[eps=big]: expected float, got 'big'"),
    ("run --attacks 'fgsm[eps=8/0]'", "fgsm[eps=8/0]: expected float, got '8/0'"),
    ("run --attacks 'fgsm[eps=inf]'", "a finite number is needed"),
    ("run --attacks 'fgsm[eps=-1]'", "fgsm[eps=-1.0]: expected at least 0"),
    ("run --attacks 'fgsm[loss=mse]'", "expected one of ce, dlr, got 'mse'"),
    ("run --attacks 'pgd_l2[steps=0.5]'", "pgd_l2[steps=0.5]: expected int, got '0.5'"),
    ("run --attacks 'pgd_l2[restarts=0]'", "pgd_l2[restarts=0]: expected at least 1"),
    ("run --attacks 'gaussian_noise[draws=0]'", "expected at least 1"),
    ("run --attacks 'fgsm[eps=0.1'", "cannot read 'fgsm[eps=0.1'; expected name or name[option="),
    ("run --attacks 'fgsm[eps=0.1]]'", "cannot read 'fgsm[eps=0.1]]'"),
    ("run --attacks 'fgsm[eps]'", "cannot read option 'eps' in 'fgsm[eps]'; expected option=value"),
    ("run --attacks 'fgsm[eps=0.1,eps=0.2]'", "option 'eps' is given twice", "keep one"),
    ("run --defense 'standard[epochs=-1]'", "standard[epochs=-1]: expected at least 0"),
    ("run --defense checkpoint", "checkpoint needs path", "checkpoint[path=VALUE]"),
    ("run --defense ''", "--defense names no defense; expected names"),
    ("run --attacks ''", "names no attack; expected names, all or unseen"),
    ("run --adapt ''", "--adapt: expected names, got ''"),
    ("run --knowledge ,", "--knowledge: expected names, got ','"),
    ("run --shots -1", "--shots: expected greater than or equal to 0, got -1"),
    ("run --shots 1000", "--shots 1000: digits has 40 validation images per class", "at most 40"),
    ("run --shots 1,,2", "--shots: expected whole numbers such as 0,1,5, got '1,,2'"),
    ("run --seeds x", "--seeds: expected whole numbers such as 0,1,5, got 'x'"),
    ("run --seeds -1", "--seeds: expected greater than or equal to 0, got -1"),
    ("run --limit 0", "--limit: expected greater than or equal to 1, got 0"),
    ("run --episodes 0", "--episodes: expected greater than or equal to 1, got 0"),
    ("run --adapt-steps -1", "--adapt-steps: expected greater than or equal to 0, got -1"),
    ("run --adapt-lr 0", "--adapt-lr: expected greater than 0, got 0.0"),
    ("run --adapt-lr inf", "--adapt-lr: expected a finite number, got inf"),
    ("run --device cuda:99", "--device cuda:99: ", "expected auto, cpu or cuda"),
    ("run --device gpu", "--device gpu: ", "expected auto, cpu or cuda"),
    ("run --threads 0", "--threads: expected at least 1, got 0"),
    ("run --jobs 0", "--jobs: expected at least 1, got 0"),
    ("run --executor proceses", "unknown executor 'proceses'; did you mean processes?"),
    ("run --executor here --jobs 2", "--jobs 2 with --executor here, which is one process"),
    ("run --address auto", "--address is for --executor ray; expected that too, or neither"),
    ("run --executor processes --gpus-per-task 0.5", "--gpus-per-task is for --executor ray"),
    ("run --executor ray --gpus-per-task -1", "--gpus-per-task: expected a number from 0, got -1"),
    ("run --cell-time 0", "--cell-time: expected a number above 0, got 0"),
    ("run --cell-memory nan", "--cell-memory: expected a number above 0, got nan"),
    ("run --episodes many", "'--episodes'", "(see --help)"),
    ("run --epochs 3", "No such option: --epochs", "(see --help)"),
    ("run --defense", "--defense", "requires an argument"),
    ("runn", "No such command 'runn'"),
    ("list", "Missing argument"),
    ("list attack", "unknown list 'attack'; did you mean attacks?", "suites"),
    ("report --results nowhere", "expected records below nowhere, got none", "benchmark run"),
    ("contract", "expected one of --attack, --defense and --dataset"),
    ("contract --attack fgsm --defense standard", "expected one of --attack, --defense"),
    ("contract --attack fgm", "unknown attack 'fgm'; did you mean fgsm"),
    ("contract --defense standart", "unknown defense 'standart'; did you mean standard?"),
]


WRONG_ADDRESSES = [
    ("there", "--address: expected HOST:PORT of a Ray head node"),
    ("127.0.0.1:1", "127.0.0.1:1: no Ray answers there"),
]


@pytest.mark.extra
@pytest.mark.parametrize(("address", "expected"), WRONG_ADDRESSES)
def test_an_address_where_no_ray_is(command, address, expected):
    pytest.importorskip("ray", reason="needs the extra `ray`")
    command(f"run --executor ray --address {address}").refused(expected)


@pytest.mark.parametrize(("words", "expected"), [(words, rest) for words, *rest in WRONG])
def test_wrong_use_is_one_line(command, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    command(words).refused(*expected)
    assert not list(tmp_path.iterdir()), "nothing is written before the request is understood"


# A user's own file.

FILES = [
    ("import nothing_of_that_name", "Net", "fails on import: ModuleNotFoundError", "imported"),
    ("raise ValueError('first\\nsecond')", "Net", "fails on import: ValueError: first second"),
    ("def broken(:", "Net", "fails on import: SyntaxError"),
    ("import sys; sys.exit(0)", "Net", "fails on import: SystemExit"),
    ("class Net(nn.Module): pass", "Nett", "unknown name in", "did you mean Net?"),
    ("Net = 3", "Net", "expected a Defense class, an nn.Module or a function", "got int"),
    ("def Net(): return 3", "Net", "expected an nn.Module or a function that returns one, got int"),
    ("Net = nn.Flatten", "Net[depth=3]", "only a Defense class takes options"),
    ("Net = nn.Flatten(); Net.trained_on = 'noise'", "Net", "expected trained_on to be a set"),
    (
        "Net = nn.Flatten(); Net.trained_on = {'nois'}",
        "Net",
        "unknown family",
        "did you mean noise",
    ),
    ("class Net(Defense): pass", "Net", "expected a dataclass with a method fit"),
    ("class Net(Standard):\n  def fit(self, *_): raise UsageError('a\\nb')", "Net", "error: a b"),
]


@pytest.mark.parametrize(("text", "name", "expected"), [(a, b, rest) for a, b, *rest in FILES])
def test_a_file_that_does_not_fit(finished, run, tmp_path, text, name, expected):
    file = tmp_path / "mine.py"
    imports = (
        "from torch import nn",
        "from baselines.standard import Standard",
        "from benchmark.core.errors import UsageError",
        "from benchmark.core.types import Defense",
    )
    file.write_text("\n".join([*imports, text]))
    run(defense=f"{file}:{name}").refused(*expected)


def test_a_file_that_is_not_there(run, tmp_path):
    run(defense=f"{tmp_path}/mine.py:Net").refused("no file", "path/to/file.py:NAME")
