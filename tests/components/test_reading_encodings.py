"""Files in another encoding: the hint names it, and following the hint reads the file."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from components.monitor import recent
from components.monitor.params import Params as MonitorParams
from fineline.process.errors import DataRejected
from tests.components.conftest import Ingest, pairs, write

CHINESE = ["今天天气很好，我们去公园吧", "我的银行卡丢失了，请帮忙冻结", "转账失败怎么办", "请问如何修改密码"]
TAIWANESE = ["今天天氣很好，我們去公園吧", "我的銀行卡遺失了，請幫忙凍結", "轉帳失敗怎麼辦", "請問如何修改密碼"]
JAPANESE = [
    "今日は天気がいいですね",
    "カードを紛失しました",
    "送金に失敗しました",
    "パスワードの変更方法を教えてください",
]
KOREAN = [
    "오늘 날씨가 정말 좋네요",
    "카드를 분실했어요. 정지해 주세요",
    "송금이 실패했습니다",
    "비밀번호를 어떻게 바꾸나요",
]
RUSSIAN = ["Сегодня хорошая погода", "Я потерял карту", "Перевод не прошел", "Как сменить пароль"]
FRENCH = ["Où est ma carte bancaire ?", "J'ai été débité deux fois", "Le virement a échoué", "à bientôt"]

FILES = [
    ("gb18030", "gb18030", CHINESE),
    ("gb2312", "gb18030", CHINESE),
    ("big5", "big5", TAIWANESE),
    ("shift_jis", "cp932", JAPANESE),
    ("euc_kr", "cp949", KOREAN),
    ("euc_jp", "euc_jp", JAPANESE),
    ("cp1251", "cp1251", RUSSIAN),
    ("cp1252", "cp1252", FRENCH),
]


@pytest.mark.parametrize(("written", "named", "texts"), FILES, ids=[case[0] for case in FILES])
@pytest.mark.parametrize("column", ["text", "own"])
def test_the_hint_names_the_encoding(
    written: str,
    named: str,
    texts: list[str],
    column: str,
    ingest: Ingest,
    read: Callable[..., pd.DataFrame],
    tmp_path: Path,
) -> None:
    """Also where the column names themselves are in it."""
    name = "text" if column == "text" else texts[2].split()[-1]
    rows = [(text, f"label{number % 2}") for number, text in enumerate(texts * 3)]
    content = f"{name},label\n" + "".join(f'"{text}",{label}\n' for text, label in rows)
    source = write(tmp_path / "a.csv", content.encode(written))
    code, _, error = ingest(source, columns={"text": name, "label": "label"})
    hint = re.search(r"the file is in another encoding: set ingest\.encoding, most likely to (\w+)", error)
    assert (code, hint and hint[1]) == (3, named), error
    assert pairs(read(source, columns={"text": name, "label": "label"}, max_bad_rows=0, encoding=named)) == rows
    with pytest.raises(DataRejected) as raised:
        recent.read(MonitorParams(source=str(source), columns={"text": name}), [])
    assert f"set monitor.encoding, most likely to {named}" in raised.value.hint


def test_json_lines_too(ingest: Ingest, tmp_path: Path) -> None:
    lines = "".join(f'{{"text": "{text}", "label": "a"}}\n' for text in CHINESE * 3)
    code, _, error = ingest(write(tmp_path / "a.jsonl", lines.encode("gb18030")))
    assert (code, "most likely to gb18030" in error) == (3, True), error


def test_too_little_to_tell(ingest: Ingest, tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "text,label\ncafé,a\n".encode("cp1252"))
    code, _, error = ingest(source, max_bad_rows=0)
    assert (code, "set ingest.encoding, for instance to cp1252" in error) == (3, True), error
