"""What OpenCompass makes of exam questions that hold names in braces, as LaTeX does (`\\oint_{C}`): its
`safe_format` replaces them key after key, also in text that was inserted before, and shown questions once
more with the fields of the question that is asked.

    pip install --no-deps opencompass==0.2.1
    python braces.py

The package's own `PromptTemplate`, retriever and parser run, loaded from its files; what they import besides
(a registry, a logger, torch) has stand-ins here, since none of it touches a text. The data sets themselves
are in no package registry: the questions are the shapes of the rows of C-Eval and CMMLU that hold such
braces, and random ones.
"""

import importlib.util
import json
import random
import sys
import types
from pathlib import Path

OUT = Path(__file__).parent / "fixtures" / "exam" / "braces.json"
LETTERS = "ABCD"
# LaTeX of such rows, and all keys of an entry; halves of braces too.
PIECES = [
    r"$\oint_{C} x\,dy$", r"\lim _{n\to\infty}", r"\bigcup_{A}B", r"P{A}+P{B}", r"\bar{A}\bar{B}", r"\mathrm{D}",
    r"x_{D}", r"\frac{A}{B}", r"{C}_{5}^{2}", "{question}", "{answer}", "{id}", "{explanation}", "{", "}", "{A",
    "B}", "{{A}}", "{{{C}}}", "{E}", "{a}", "{ A }", "</E>", "积分", "概率为", "1/3", " ", "\n", "答案: ", "%s", "\\1", "$&",
]


class Registry:
    def register_module(self, *_, **__):
        return lambda it: it


def load():
    """The modules of the installed package, without what else its `__init__` files would pull in."""
    root = Path(importlib.util.find_spec("opencompass").submodule_search_locations[0])
    anything = types.SimpleNamespace(is_main_process=True, get_logger=lambda *_: None, trange=range)
    registry = types.ModuleType("opencompass.registry")
    registry.__getattr__ = lambda _: Registry()
    stubs = {
        "opencompass.registry": registry,
        "mmengine": types.SimpleNamespace(dist=anything),
        "mmengine.config": types.SimpleNamespace(Config=dict, ConfigDict=dict),
        "mmengine.dist": types.SimpleNamespace(is_main_process=lambda: True),
        "torch": types.SimpleNamespace(Tensor=object),
        "datasets": types.SimpleNamespace(Dataset=list, DatasetDict=dict),
        "opencompass.openicl": types.ModuleType("opencompass.openicl"),
        "opencompass.utils": types.ModuleType("opencompass.utils"),
        "opencompass.models": types.ModuleType("opencompass.models"),
    }
    stubs["opencompass"] = types.ModuleType("opencompass")
    sys.modules.update(stubs)

    def module(name, path):
        spec = importlib.util.spec_from_file_location(name, root / path)
        made = importlib.util.module_from_spec(spec)
        sys.modules[name] = made
        spec.loader.exec_module(made)
        return made

    module("opencompass.utils.prompt", "utils/prompt.py")
    module("opencompass.utils.types", "utils/types.py")
    template = module("opencompass.openicl.icl_prompt_template", "openicl/icl_prompt_template.py")
    retriever = module("opencompass.openicl.base", "openicl/icl_retriever/icl_base_retriever.py")
    models = module("opencompass.models.base", "models/base.py")
    return template.PromptTemplate, retriever.BaseRetriever, models.LMTemplateParser


def templates(PromptTemplate, shape, mode, zh, shots):
    """Those of `ceval_ppl_578f8d`, `ceval_gen_5f30c7`, `cmmlu_ppl_8b9c76` and `cmmlu_gen_c13365`; without the
    place for shown questions where there are none, as configurations without them have it."""
    options = "\nA. {A}\nB. {B}\nC. {C}\nD. {D}"
    if shape == "ceval":
        human = f"以下是中国关于{zh}考试的单项选择题，请选出其中的正确答案。\n{{question}}{options}\n答案: "
        bot = ""
    else:
        human = f"以下是关于{zh}的单项选择题，请直接给出正确答案的选项。\n题目：{{question}}{options}"
        bot = "答案是: "

    def round_of(answer):
        rounds = [{"role": "HUMAN", "prompt": human}, {"role": "BOT", "prompt": bot + answer}]
        return {"begin": "</E>", "round": rounds} if shots else {"round": rounds}

    made = round_of("{answer}") if mode == "gen" else {it: round_of(it) for it in LETTERS}
    return PromptTemplate(template=made, ice_token="</E>" if shots else None)


def question(draw, shape, i):
    text = lambda n: "".join(draw.choice(PIECES) for _ in range(n))
    row = {"question": text(draw.randint(1, 6)), **{it: text(draw.randint(0, 3)) for it in LETTERS},
           "answer": draw.choice(LETTERS)}
    # What the loader of C-Eval makes of a row, in its order; that of CMMLU leaves out the number.
    return {"id": str(i), **row, "explanation": text(draw.randint(0, 1))} if shape == "ceval" else row


def main():
    PromptTemplate, BaseRetriever, LMTemplateParser = load()

    class Retriever(BaseRetriever):
        def retrieve(self):
            return None

    cases, draw = [], random.Random(20_240)
    for i in range(120):
        shape = ["ceval", "cmmlu"][i % 2]
        shots = [question(draw, shape, j) for j in range(draw.choice([0, 1, 2, 5]))]
        asked = question(draw, shape, 9)
        reader = types.SimpleNamespace(output_column="answer")
        it = Retriever.__new__(Retriever)
        it.dataset_reader, it.index_ds, it.test_ds = reader, shots, [asked]
        it.ice_separator = it.ice_eos_token = "\n"
        parser, prompts = LMTemplateParser(), {}
        for mode in ["ppl", "gen"]:
            template = templates(PromptTemplate, shape, mode, "概率{B}", len(shots))
            role = "ice_template" if shots else "prompt_template"
            ice = it.generate_ice(list(range(len(shots))), ice_template=template) if shots else ""
            if mode == "gen":
                made = it.generate_prompt_for_generate_task(0, ice, **{role: template})
                prompts[mode] = parser.parse_template(made, mode="gen")
                continue
            for label in LETTERS:
                made = it.generate_label_prompt(0, ice, label, **{role: template})
                prompts[label] = parser.parse_template(made, mode="ppl")
        cases.append({"shape": shape, "shots": shots, "asked": asked, "prompts": prompts})
    OUT.write_text("".join(json.dumps(it, ensure_ascii=False) + "\n" for it in cases), encoding="utf-8")


if __name__ == "__main__":
    main()
