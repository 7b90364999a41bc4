"""The page's scripts and stylesheet as Gradio gets them."""

import page


def test_every_script_is_in_the_page(root):
    files = {p.stem: p.read_text() for p in (root / "page").glob("*.js")}
    assert files.keys() == {*page.SCRIPTS}
    script = page.script()
    assert script.startswith("() => {")
    assert script.endswith("}")
    assert all(text in script for text in files.values())


def test_styles_need_nothing_from_elsewhere():
    head = page.head()
    assert head.startswith("<style>")
    assert head.endswith("</style>")
    assert "http" not in head.replace("http://www.w3.org/2000/svg", "")
    assert head.count("{") == head.count("}")
