"""Cases for the scorers of structured answers, judged by other packages: the oracle for spans, JSON, schemas and fields.

    pip install seqeval==1.2.2 nervaluate==1.2.1 jsonschema==4.26.0 RapidFuzz==3.14.6 scipy==1.17.1
    pip download --no-deps --no-binary :all: jsonschema==4.26.0 && tar xzf jsonschema-4.26.0.tar.gz
    python tests/oracles/structure_cases.py CASES.json --suite jsonschema-4.26.0/json [--count 1500] [--seed 1]
    STRUCTURE_CASES=$PWD/CASES.json cargo test --release -p eval --lib structure_oracle -- --ignored

With `--sample eval/tests-data/structure.json` the first cases of each kind are also written there: the fixture that every
test run reads. The suite is the official JSON Schema test suite, which the source archive of the Python package carries;
its cases are judged by their own answer, generated ones by the package.
"""
import argparse, itertools, json, pathlib, random, warnings

from jsonschema import Draft202012Validator
from nervaluate import Evaluator
from rapidfuzz.distance import Levenshtein
from referencing import Registry
from scipy.optimize import linear_sum_assignment
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

warnings.filterwarnings("ignore")
TYPES = ["PER", "ORG", "LOC"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=pathlib.Path)
    parser.add_argument("--suite", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=pathlib.Path)
    args = parser.parse_args()
    kinds = {"tags": tags, "spans": spans, "json": json_text, "schema": schema, "similarity": similarity, "records": record}
    cases = {}
    for name, make in kinds.items():
        rng = random.Random(f"{args.seed} {name}")
        cases[name] = [make(rng) for _ in range(args.count)]
    cases["suite"] = list(suite(args.suite)) if args.suite else []
    args.cases.write_text(json.dumps(cases))
    if args.sample:
        step = max(1, len(cases["suite"]) // 25)
        sample = {name: rows[::step] if name == "suite" else rows[:25] for name, rows in cases.items()}
        lines = [f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in sample.items()]
        args.sample.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print({name: len(rows) for name, rows in cases.items()})


def tags(rng):
    """A few sentences, I- without B- included, with the F1 of seqeval over them and the spans of the answers."""
    def sentence(length):
        return [rng.choice(["O", "O"] + [f"{prefix}-{kind}" for prefix in "BI" for kind in TYPES[:2]]) for _ in range(length)]

    lengths = [rng.randint(1, 9) for _ in range(rng.randint(1, 3))]
    wanted = [sentence(length) for length in lengths]
    predicted = [[tag if rng.random() < 0.7 else other for tag, other in zip(one, sentence(len(one)))] for one in wanted]
    strict = Entities(predicted, scheme=IOB2).entities
    return {
        "wanted": wanted,
        "predicted": predicted,
        "conll_f1": float(f1_score(wanted, predicted, zero_division=0)),
        "iob2_f1": float(f1_score(wanted, predicted, mode="strict", scheme=IOB2, zero_division=0)),
        "conll": [sorted([start, end + 1, kind] for kind, start, end in get_entities(one)) for one in predicted],
        "iob2": [sorted([entity.start, entity.end, entity.tag] for entity in one) for one in strict],
    }


def spans(rng):
    """Spans of one document in the order of their offsets; half of the cases have predictions that overlap each other."""
    def some(flat):
        found = set()
        for _ in range(rng.randint(0, 7)):
            start = rng.randrange(0, 40)
            found.add((start, start + rng.choice([1, 2, 3, 5, 8, 200]), rng.choice(TYPES)))
        kept = []
        for span in sorted(found):
            if not flat or not kept or kept[-1][1] <= span[0]:
                kept.append(span)
        return kept

    flat = rng.random() < 0.7
    wanted, predicted = some(rng.random() < 0.5), some(flat)
    if wanted and rng.random() < 0.7:
        # Answers that are near the truth, not only noise.
        moved = {(max(0, s + rng.choice([0, 0, 0, 1, -1])), e + rng.choice([0, 0, 1]), rng.choice([k, k, rng.choice(TYPES)])) for s, e, k in wanted}
        merged = sorted({span for span in moved if span[0] < span[1]} | set(predicted[:1]))
        predicted = []
        for span in merged:
            if not flat or not predicted or predicted[-1][1] <= span[0]:
                predicted.append(span)
    as_dicts = lambda rows: [{"label": kind, "start": start, "end": end - 1} for start, end, kind in rows]
    # nervaluate cannot infer its input form from an empty document, and counts the last unit of a span as inside.
    results = Evaluator([as_dicts(wanted)], [as_dicts(predicted)], tags=TYPES, loader="dict").evaluate()
    credit = lambda result: result.correct + 0.5 * result.partial
    modes = {"strict": "strict", "exact": "exact", "type": "ent_type", "partial": "partial"}
    overall = results["overall"]
    return {
        "wanted": wanted,
        "predicted": predicted,
        "flat": flat,
        **{ours: [credit(overall[theirs]), overall[theirs].actual, overall[theirs].possible] for ours, theirs in modes.items()},
        "strict_by_type": {kind: [credit(r["strict"]), r["strict"].actual, r["strict"].possible] for kind, r in results["entities"].items()},
    }


def value(rng, depth=0):
    """A small JSON value whose parts often meet again in another one."""
    pick = rng.random()
    if depth < 3 and pick < 0.3:
        return {key: value(rng, depth + 1) for key in rng.sample(["a", "b", "c"], rng.randint(0, 3))}
    if depth < 3 and pick < 0.55:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    return rng.choice([None, True, False, 0, 1, 2, 1.5, -3, "", "x", "y", "é"])


def json_text(rng):
    """A text that is JSON or nearly so, and whether it is exactly one value."""
    text = json.dumps(value(rng), ensure_ascii=rng.random() < 0.5)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        at = rng.randrange(len(text) + 1)
        new = rng.choice(["", ",", "}", "]", '"', "NaN", "1", "-", "0", " ", "\n", "\\", "\\u00e9", "e5", ".", '"a": 1, "a": 2', "null", "//"])
        text = text[:at] + new + text[at + rng.choice([0, 1]):]

    def unique(pairs):
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    def refuse(name):
        raise ValueError(name)

    try:
        json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
        valid = True
    except ValueError:
        valid = False
    return {"text": text, "valid": valid}


def schema(rng):
    """A schema of common keywords, a value, whether the package allows it and the paths of all that it finds wrong."""
    def one(depth=0):
        made = {}
        for keyword in rng.sample(["type", "enum", "minimum", "maxLength", "pattern", "required", "properties", "additionalProperties",
                                   "items", "minItems", "uniqueItems", "anyOf", "not", "const", "prefixItems", "multipleOf"], rng.randint(1, 3)):
            below = lambda: one(depth + 1) if depth < 2 else {}
            made[keyword] = {
                "type": lambda: rng.choice(["object", "array", "string", "number", "integer", "boolean", "null", ["string", "null"]]),
                "enum": lambda: [value(rng, 3) for _ in range(3)],
                "minimum": lambda: rng.choice([0, 1, 1.5]),
                "maxLength": lambda: rng.choice([0, 1]),
                "pattern": lambda: rng.choice(["^x$", "[a-y]"]),
                "required": lambda: rng.sample(["a", "b", "c"], rng.randint(1, 2)),
                "properties": lambda: {key: below() for key in rng.sample(["a", "b", "c"], 2)},
                "additionalProperties": lambda: rng.choice([False, below()]),
                "items": below,
                "minItems": lambda: rng.choice([1, 2]),
                "uniqueItems": lambda: True,
                "anyOf": lambda: [below(), below()],
                "not": below,
                "const": lambda: value(rng, 2),
                "prefixItems": lambda: [below()],
                "multipleOf": lambda: rng.choice([1, 2, 0.5]),
            }[keyword]()
        return made

    made, instance = one(), value(rng)
    errors = list(Draft202012Validator(made).iter_errors(instance))
    escaped = lambda part: str(part).replace("~", "~0").replace("/", "~1")
    paths = sorted({"".join(f"/{escaped(part)}" for part in error.absolute_path) for error in errors})
    return {"schema": made, "instance": instance, "valid": not errors, "paths": paths}


def suite(folder):
    """The official cases of draft 2020-12; `valid` is null where the schema refers to something outside itself."""
    for path in sorted((folder / "tests" / "draft2020-12").glob("*.json")):
        for group in json.loads(path.read_text()):
            for test in group["tests"]:
                valid = None if is_outside(group["schema"], test["data"]) else test["valid"]
                name = f"{path.stem}: {group['description']}: {test['description']}"
                yield {"name": name, "schema": group["schema"], "instance": test["data"], "valid": valid}


def is_outside(schema, instance):
    """Whether a schema needs another document of the suite, as its own description or as the end of a reference."""
    if isinstance(schema, dict) and "localhost:1234" in schema.get("$schema", ""):
        return True
    try:
        Draft202012Validator(schema, registry=Registry()).is_valid(instance)
    except Exception:
        return "localhost:1234" in json.dumps(schema)
    return False


def similarity(rng):
    """Two texts and one minus their Levenshtein distance over the longer length."""
    text = lambda: "".join(rng.choice("abcé漢") for _ in range(rng.randint(0, 9)))
    one = text()
    other = text() if rng.random() < 0.3 else "".join(c for c in one if rng.random() < 0.8) + text()[:2]
    return {"one": one, "other": other, "similarity": Levenshtein.normalized_similarity(one, other)}


def record(rng):
    """Two records with credit, predicted and wanted leaves, lists in order and lists assigned as is best."""
    wanted = value(rng)
    predicted = value(rng) if rng.random() < 0.3 else changed(rng, wanted)
    sizes = [leaves(predicted), leaves(wanted)]
    return {
        "predicted": predicted,
        "wanted": wanted,
        "lists": sorted(set(lists(predicted, "")) | set(lists(wanted, ""))),
        "ordered": [credit(predicted, wanted, False), *sizes],
        "assignment": [credit(predicted, wanted, True), *sizes],
    }


def changed(rng, old):
    if rng.random() < 0.1:
        return value(rng, 2)
    if isinstance(old, dict):
        return {key: changed(rng, item) for key, item in old.items() if rng.random() < 0.9}
    if isinstance(old, list):
        new = [changed(rng, item) for item in old if rng.random() < 0.9]
        if rng.random() < 0.5:
            rng.shuffle(new)
        return new
    return old


def leaves(old):
    if isinstance(old, (dict, list)):
        return sum(leaves(item) for item in (old.values() if isinstance(old, dict) else old))
    return 0 if old is None else 1


def lists(old, path):
    if isinstance(old, dict):
        return itertools.chain.from_iterable(lists(item, f"{path}.{key}" if path else key) for key, item in old.items())
    if isinstance(old, list):
        return [path or "$", *itertools.chain.from_iterable(lists(item, f"{path}[]") for item in old)]
    return []


def credit(predicted, wanted, assigned):
    if isinstance(predicted, dict) and isinstance(wanted, dict):
        return sum(credit(predicted[key], item, assigned) for key, item in wanted.items() if key in predicted)
    if isinstance(predicted, list) and isinstance(wanted, list):
        if not assigned:
            return sum(credit(one, other, assigned) for one, other in zip(predicted, wanted))
        if not predicted or not wanted:
            return 0
        weights = [[credit(one, other, assigned) for other in wanted] for one in predicted]
        rows, columns = linear_sum_assignment(weights, maximize=True)
        return sum(weights[row][column] for row, column in zip(rows, columns))
    if isinstance(predicted, (dict, list)) or isinstance(wanted, (dict, list)) or predicted is None:
        return 0
    return int(isinstance(predicted, bool) == isinstance(wanted, bool) and predicted == wanted)


if __name__ == "__main__":
    main()
