"""The set `licence-notices` built a second time, in Python: the oracle for its recipe, its split and its baselines.

    pip download licensedcode-data==32.1.0 --no-deps --only-binary :all:
    pip install -r tests/oracles/requirements.txt
    python tests/oracles/licence_notices.py WHEEL [--rows BUILT.jsonl] [--tokenizer MODEL.gguf] [--yaml]

Builds the rows from the wheel and exits with 1 unless their SHA-256 is the one in datasets/licence-notices/dataset.toml,
and with --rows unless that file has the same bytes. Checks each target against schema.json. Prints the ledger, the
split, how often each field is filled, lengths, and baselines with scikit-learn. --yaml reads the front matter of every
file with PyYAML too and compares. --tokenizer counts tokens as transformers reads them from the model file.

Needs jsonschema and scikit-learn; PyYAML with --yaml; gguf and transformers with --tokenizer.
"""
import argparse, collections, hashlib, json, pathlib, re, sys, tomllib, zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2] / "datasets/licence-notices"
WORDS, FAMILY_JACCARD, MAX_FAMILIES = range(15, 201), 0.5, 80
URL = re.compile(r"""(?:https?|ftp)://[^\s<>"'`|{}\[\]()\\^]+""")
FILE = re.compile(
    r"(?:^|/)(?:COPYING|COPYLEFT|(?:LICEN[CS]ES?|COPYRIGHT|NOTICE|README)[._-][A-Za-z0-9])"
    r"|^/[A-Za-z].*/|(?i:\.(?:txt|md|html?|rst|pdf|doc|licen[cs]e|[al]?gpl|gfdl|bsd|mit|terms)$)"
)
VERSION = re.compile(r"^(.*?)-(\d+(?:\.\d+)+)(.*)$")
LATER = re.compile(r"\b(?:later|newer|higher|greater|subsequent)\b|\d\+", re.I)
GNU = {
    "GPL": r"\bGPL|General Public Licen[cs]e",
    "LGPL": r"LGPL|Lesser|Library General|Library GPL",
    "AGPL": r"AGPL|Affero",
    "GFDL": r"FDL|Free Documentation",
}
# Listed by the index and not asked for, because few notices have them.
ALSO = ["ignorable_holders", "ignorable_copyrights", "ignorable_authors", "ignorable_emails"]
NOT_GPL = re.compile(r"LGPL|Lesser G|Library General|AGPL|Affero|FDL|Free Documentation", re.I)


def front_matter(text):
    lines = text.replace("\r\n", "\n").split("\n")
    end = next(at for at, line in enumerate(lines) if at and line.rstrip() == "---")
    fields, name = {}, None
    for line in lines[1:end]:
        said = line.strip()
        if not said:
            continue
        if line[0] not in " -":
            name, _, value = said.partition(":")
            fields[name] = value.strip() or []
        elif isinstance(fields[name], str):
            fields[name] += " " + said
        elif said.startswith("- "):
            fields[name].append(said[2:].strip())
        elif fields[name]:
            fields[name][-1] += " " + said
        else:
            fields[name] = said
    bare = lambda value: value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    plain = {name: [bare(one) for one in value] if isinstance(value, list) else bare(value) for name, value in fields.items()}
    return plain, "\n".join(lines[end + 1 :])


def hashed(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def once(found):
    return list(dict.fromkeys(found))


def urls(text):
    return once(url.rstrip(".,;:!?*") for url in URL.findall(text))


def files(text):
    words = [word.rstrip(".*") for word in re.split(r"""[\s"'`<>()\[\],;:|{}]+""", URL.sub(" ", text))]
    words = [""] + [word for word in words if word] + [""]
    loud = lambda word: len(word) > 1 and any(map(str.isalpha, word)) and word.upper() == word
    bare = lambda at: words[at].split("/")[-1] in ("LICENSE", "LICENCE") and not loud(words[at - 1]) and not loud(words[at + 1])
    return once(words[at] for at in range(1, len(words) - 1) if bare(at) or FILE.search(words[at]))


def family(spdx_id):
    match = VERSION.match(spdx_id)
    return match and (match[1], match[3].replace("-only", "").replace("-or-later", ""), match[2])


def borne_out(spdx_id, text, versions):
    if not family(spdx_id):
        return True
    name, rest, number = family(spdx_id)
    if name in GNU and (not re.search(GNU[name], text, re.I) or name == "GPL" and NOT_GPL.search(text)):
        return False
    said, later, known = set(re.findall(r"\d+(?:\.\d+)*", text)), bool(LATER.search(text)), versions[name, rest]
    says = lambda number: number in said or number.endswith(".0") and number[:-2] in said
    if spdx_id in ("GPL-1.0-or-later", "LGPL-2.0-or-later") and not later and not any(map(says, known)):
        return True
    if len(known) > 1 and not says(number):
        return False
    return later if spdx_id.endswith("-or-later") else not (spdx_id.endswith("-only") and later)


def normalised(text):
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def shingles(words):
    words = words.split()
    return {" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def jaccard(one, other):
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def build(members):
    licences, versions, ledger, notices = {}, collections.defaultdict(set), collections.Counter(), []
    for name, text in members:
        if name.endswith(".LICENSE"):
            fields, _ = front_matter(text)
            licences[fields["key"]] = fields
            spdx_id = fields.get("spdx_license_key", "LicenseRef-")
            if not spdx_id.startswith("LicenseRef-") and family(spdx_id):
                versions[family(spdx_id)[:2]].add(family(spdx_id)[2])
    for name, text in members:
        if name.endswith(".RULE"):
            reason, notice = judge(name.split("/")[-1][:-5], *front_matter(text), licences, versions)
            ledger[reason] += 1
            notices += [notice] if notice else []
    del ledger[None]
    notices.sort(key=lambda notice: (hashed(notice["id"]), notice["id"]))
    answers, seen, families, full, kept = collections.defaultdict(set), set(), collections.defaultdict(list), collections.Counter(), []
    for notice in notices:
        notice["words"] = normalised(notice["text"])
        answers[notice["words"]].add(notice["answer"])
    for notice in notices:
        words, answer = notice["words"], notice["answer"]
        own = shingles(words)
        if len(answers[words]) > 1:
            ledger["the same words under two licences"] += 1
        elif words in seen:
            ledger["repeated"] += 1
        elif seen.add(words) or any(jaccard(own, known) >= FAMILY_JACCARD for known in families[answer]):
            ledger["near twin with the same licence"] += 1
        elif full[answer[0]] == MAX_FAMILIES:
            ledger["licence has enough"] += 1
        else:
            full[answer[0]] += 1
            families[answer].append(own)
            kept.append(notice)
    return sorted(kept, key=lambda notice: notice["id"]), ledger


def judge(name, fields, text, licences, versions):
    if fields.get("is_license_notice") != "yes" or fields.get("is_deprecated") == "yes":
        return "no notice, or no longer in use", None
    if float(fields.get("relevance", "100")) < 100:
        return "relevance below 100", None
    expression = fields["license_expression"]
    keys = expression.split()
    if re.search("[()]", expression) or len(keys) not in (1, 3) or len(keys) == 3 and keys[1].lower() != "with":
        return "several licences", None
    licence, exception = licences[keys[0]], licences[keys[2]] if len(keys) == 3 else None
    if fields.get("language", "en") != "en" or licence.get("language", "en") != "en":
        return "another language", None
    listed = lambda one: not one.get("spdx_license_key", "LicenseRef-").startswith("LicenseRef-")
    is_exception = lambda one: one.get("is_exception") == "yes"
    if not listed(licence) or is_exception(licence) or exception and not (listed(exception) and is_exception(exception)):
        return "not on the SPDX list", None
    words = text.replace("{{", "").replace("}}", "").split()
    text = " ".join(words)
    if len(words) not in WORDS:
        return "length", None
    spdx_id = licence["spdx_license_key"]
    if not borne_out(spdx_id, text, versions):
        return "words do not bear out the licence", None
    slashless = lambda found: {url.rstrip("/") for url in found}
    if slashless(urls(text)) != slashless(fields.get("ignorable_urls", [])):
        return "addresses differ", None
    if set(files(text)) != set(fields.get("referenced_filenames", [])):
        return "files differ", None
    exception_id = exception and exception["spdx_license_key"]
    facts = {
        "spdx_id": spdx_id,
        "exception": exception_id,
        "category": (exception or licence)["category"],
        "urls": urls(text),
        "files": files(text),
    }
    notice = {"id": name, "expression": expression, "text": text, "answer": (spdx_id, exception_id), "facts": facts}
    return None, notice | {"also": [also for also in ALSO if fields.get(also)]}


def written(notices):
    line = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for notice in notices:
        notice["target"] = line(notice["facts"])
        messages = [{"role": "user", "content": notice["text"]}, {"role": "assistant", "content": notice["target"]}]
        facts, words = notice["facts"], len(notice["text"].split(" "))
        meta = {"expression": notice["expression"], "spdx_id": facts["spdx_id"], "category": facts["category"], "words": words}
        yield line({"id": notice["id"], "messages": messages, "group": notice["id"], "meta": meta}) + "\n"


def spread(values):
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(share * len(values)))]
    return f"mean {sum(values) / len(values):.1f}, median {at(0.5)}, 95th percentile {at(0.95)}, longest {values[-1]}"


def lengths(notices, tokenizer):
    print("notice words   ", spread([len(n["text"].split()) for n in notices]))
    print("notice chars   ", spread([len(n["text"]) for n in notices]))
    print("target chars   ", spread([len(n["target"]) for n in notices]))
    if tokenizer:
        from transformers import AutoTokenizer

        tokens = AutoTokenizer.from_pretrained(tokenizer.parent, gguf_file=tokenizer.name)
        count = lambda text: len(tokens.encode(text, add_special_tokens=False))
        print("notice tokens  ", spread([count(n["text"]) for n in notices]))
        print("target tokens  ", spread([count(n["target"]) for n in notices]))
        print("both           ", sum(count(n["text"]) + count(n["target"]) for n in notices))


def baselines(train, test):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    frozen = lambda value: json.dumps(value)
    share = lambda right: f"{sum(right)}/{len(right)} = {100 * sum(right) / len(right):.1f} %"
    most = lambda field: collections.Counter(frozen(n["facts"][field]) for n in train).most_common(1)[0][0]
    right = {}
    for field in ["spdx_id", "exception", "category", "urls", "files"]:
        right[field] = [frozen(n["facts"][field]) == most(field) for n in test]
        print(f"majority  {field:10}", share(right[field]), most(field))
    print("majority  all five  ", share([all(row) for row in zip(*right.values())]))
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    known, asked = vectorizer.fit_transform([n["text"] for n in train]), vectorizer.transform([n["text"] for n in test])
    for field in ["spdx_id", "exception", "category"]:
        model = LogisticRegression(C=10, max_iter=500).fit(known, [frozen(n["facts"][field]) for n in train])
        said = model.predict(asked)
        right[field] = [frozen(n["facts"][field]) == one for n, one in zip(test, said)]
        print(f"tf-idf    {field:10}", share(right[field]))
    model = LogisticRegression(C=10, max_iter=500).fit(known, [n["target"] for n in train])
    print("tf-idf    target as a class", share([n["target"] == one for n, one in zip(test, model.predict(asked))]))
    print("  classes", len({n["target"] for n in train}), "; test targets in train", sum(n["target"] in model.classes_ for n in test))
    for field, rule in [("urls", urls), ("files", files)]:
        right[field] = [n["facts"][field] == rule(n["text"]) for n in test]
        print(f"rule      {field:10}", share(right[field]))
    print("tf-idf and rules, all five", share([all(row) for row in zip(*right.values())]))
    seen = {n["facts"]["spdx_id"] for n in train}
    print("tf-idf spdx_id, where train has the licence", share([r for r, n in zip(right["spdx_id"], test) if n["facts"]["spdx_id"] in seen]))
    clusters = collections.defaultdict(list)
    for n, one in zip(test, right["spdx_id"]):
        clusters[n["facts"]["spdx_id"]].append(one)
    rate, rows = sum(right["spdx_id"]) / len(test), len(test)
    alone = (rate * (1 - rate) / rows) ** 0.5
    whole = sum((sum(one) - rate * len(one)) ** 2 for one in clusters.values()) ** 0.5 / rows
    print(f"standard error of tf-idf spdx_id: {100 * alone:.2f} points by row, {100 * whole:.2f} by licence ({len(clusters)} of them)")
    nearest = (asked @ known.T).max(axis=1).toarray().ravel()
    best = (asked @ known.T).toarray().argmax(axis=1)
    twins = [(c, train[at]["answer"] == n["answer"]) for c, at, n in zip(nearest, best.tolist(), test)]
    for bound in (0.7, 0.8, 0.9):
        near = [same for cosine, same in twins if cosine > bound]
        print(f"test rows with a tf-idf cosine above {bound} to train: {len(near)}, {sum(near)} of them with the same answer")


def compare_with_yaml(members):
    import yaml

    names = "license_expression is_license_notice is_deprecated relevance language ignorable_urls referenced_filenames"
    names = (names + " key category spdx_license_key is_exception").split()
    differing = 0
    for name, text in members:
        ours, _ = front_matter(text)
        theirs = yaml.load(text.replace("\r\n", "\n").split("\n---")[0][4:], Loader=yaml.BaseLoader)
        differing += any((ours.get(key) or None) != (theirs.get(key) or None) for key in names)
    print(f"front matter: {differing} of {len(members)} files differ from PyYAML")
    return differing == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("--rows", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path)
    parser.add_argument("--yaml", action="store_true")
    args = parser.parse_args()
    archive = zipfile.ZipFile(args.wheel)
    wanted = re.compile(r"licensedcode/data/(?:licenses/[^/]*\.LICENSE|rules/[^/]*\.RULE)")
    members = [(name, archive.read(name).decode()) for name in sorted(archive.namelist()) if wanted.fullmatch(name)]
    good = compare_with_yaml(members) if args.yaml else True
    notices, ledger = build(members)
    text = "".join(written(notices))
    manifest = tomllib.loads((ROOT / "dataset.toml").read_text())
    found = hashlib.sha256(text.encode()).hexdigest()
    good &= (found, len(notices)) == (manifest["output"]["sha256"], manifest["output"]["rows"])
    print(f"{len(notices)} rows from {len(members)} files, sha256 {found}, {'as' if good else 'NOT as'} in the manifest")
    for reason, count in ledger.items():
        print(f"  {count:6} {reason}")
    if args.rows:
        same = args.rows.read_bytes() == text.encode()
        print(f"{args.rows.name}: {'the same bytes' if same else 'OTHER BYTES'}")
        good &= same
    import jsonschema

    validator = jsonschema.Draft202012Validator(json.loads((ROOT / "schema.json").read_text()))
    validator.check_schema(validator.schema)
    refused = [n["id"] for n in notices if not validator.is_valid(json.loads(n["target"]))]
    print(f"schema: {len(notices) - len(refused)} of {len(notices)} targets are valid", refused[:5])
    good &= not refused
    train = [n for n in notices if hashed(n["id"]) % 5]
    held_out = [n for n in notices if hashed(n["id"]) % 5 == 0]
    known = [shingles(n["words"]) for n in train]
    test = [n for n in held_out if max(jaccard(shingles(n["words"]), one) for one in known) < manifest["overlap"]["jaccard"]]
    unseen = {n["facts"]["spdx_id"] for n in test} - {n["facts"]["spdx_id"] for n in train}
    print(f"train {len(train)}, held out {len(held_out)}, used {len(test)} after near twins")
    print(f"  {sum(n['facts']['spdx_id'] in unseen for n in test)} used rows of {len(unseen)} licences that train does not have")
    for part, rows in [("train", train), ("test", test)]:
        filled = {field: sum(bool(n["facts"][field]) for n in rows) for field in ["exception", "urls", "files"]}
        print(f"  {part}: {len({n['answer'][0] for n in rows})} licences, filled {filled}")
        print("   ", dict(collections.Counter(n["facts"]["category"] for n in rows).most_common()))
    print(" ", collections.Counter(n["answer"][0] for n in notices).most_common(8))
    print("  not asked for:", dict(collections.Counter(also for n in notices for also in n["also"])))
    lengths(notices, args.tokenizer)
    baselines(train, test)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
