"""From votes, popularity, edits and samples to comparisons, and from comparisons to verdicts."""

import json
from itertools import combinations

import pytest

from truing.data import comparisons, read
from truing.data.markup import plain_text
from truing.data.pretraining import (
    binarised,
    comments,
    ordered,
    reverts,
    stated,
    versus,
    vote_label,
    votes,
)
from truing.engine.open import located
from truing.model.load import load_tokenizer
from truing.model.text import Codec
from truing.records import Answer, Example, Judgement, Message, UserError
from truing.spec import ModelSpec
from truing.world import corpora
from truing.world.judge import gold
from truing.world.town import town

ASKED = (Message("user", "why ?"),)


def thread(*scores, aspect="votes", texts=None, accepted=None, prompt=ASKED):
    texts = texts or [f"answer {i}" for i in range(len(scores))]
    answers = tuple(
        Answer(t, meta={} if accepted is None else {"accepted": accepted == i}) for i, t in enumerate(texts)
    )
    return Example(prompt, answers, (Judgement("scores", scores, aspect=aspect),))


def texts(pairs):
    return [tuple(a.text for a in e.answers) for e in pairs]


def test_a_label_is_the_rounded_logarithm_of_the_votes():
    """Checked in whole numbers: k is right where 2^(k−½) ≤ 1 + v < 2^(k+½)."""
    for v in (*range(3000), 10**6, 10**9):
        k = vote_label(v)
        assert 2 ** (2 * k) <= 2 * (1 + v) ** 2 < 2 ** (2 * k + 2)
    assert [vote_label(v) for v in (0, 1, 2, 3, 4, 5, 10, 11)] == [0, 1, 2, 2, 2, 3, 3, 4]


def test_accepted_is_one_more_and_negative_is_minus_one():
    assert vote_label(3, accepted=True) == 3
    assert vote_label(-1) == vote_label(-80) == -1


def test_pairs_are_of_answers_with_different_labels_better_first():
    found, dropped = votes([thread(3, 4, -7, 0)])  # labels 2, 2, −1, 0
    assert len(found) == 4
    assert dropped == {"pair_tied": 1, "pair_over_cap": 1}
    everything, _ = votes([thread(3, 4, -7, 0)], cap=10)
    assert set(texts(everything)) == {
        (f"answer {i}", f"answer {j}") for i, j in ((0, 2), (0, 3), (1, 2), (1, 3), (3, 2))
    }
    assert all(e.ranks() == [0, 1] for e in everything)


@pytest.mark.parametrize("cap", [1, 2, 5])
def test_the_cap_holds_for_each_question_and_all_pairs_are_accounted_for(cap):
    threads = [thread(*range(0, 2 ** (i % 5 + 1), 1 + i % 3), prompt=(Message("user", f"q {i}"),)) for i in range(40)]
    found, dropped = votes(threads, cap=cap)
    per_question = [sum(e.prompt == t.prompt for e in found) for t in threads]
    assert max(per_question) == cap
    possible = sum(len(list(combinations(t.answers, 2))) for t in threads)
    assert possible == len(found) + sum(n for reason, n in dropped.items() if reason.startswith("pair_"))


def test_which_pairs_are_drawn_depends_on_the_seed_and_the_question_alone():
    one, other = thread(*range(12)), thread(*range(5, 40, 3), prompt=(Message("user", "how ?"),))
    alone, both = votes([one], seed=3)[0], votes([other, one], seed=3)[0]
    assert both[-len(alone) :] == alone
    assert texts(alone) != texts(votes([one], seed=4)[0])


def test_an_accepted_answer_wins_a_tie_however_it_is_marked():
    by_meta = votes([thread(3, 4, accepted=1)])[0]
    judged = thread(3, 4)
    judged = Example(judged.prompt, judged.answers, (*judged.judgements, Judgement("label", (False, True), "accepted")))
    assert texts(by_meta) == texts(votes([judged])[0]) == [("answer 1", "answer 0")]


def test_labels_are_not_made_twice():
    """2 and 3 are different labels, as votes they would be the same."""
    assert texts(votes([thread(2, 3, aspect="pm_score")])[0]) == [("answer 1", "answer 0")]
    assert votes([thread(2, 3)])[1] == {"pair_tied": 1}


def test_what_cannot_be_compared_is_counted():
    found, dropped = votes(
        [
            thread(20, 0, 1, None, 5, texts=["good", "[deleted]", "  ", "unseen", "good"]),
            Example(ASKED, (Answer("nobody voted"),)),
        ]
    )
    assert found == []
    assert dropped == {
        "answer_deleted": 1,
        "answer_empty": 1,
        "answer_without_votes": 1,
        "pair_identical": 1,
        "question_without_votes": 1,
    }


@pytest.mark.parametrize(
    ("scores", "kept"), [((6, 3), 1), ((5, 3), 0), ((2, -9), 1), ((1, -9), 0), ((2, 0), 1), ((-1, -9), 0)]
)
def test_comments_must_be_that_much_more_popular(scores, kept):
    """A comment begins with one vote; what has less is taken to have one."""
    found, dropped = comments([thread(*scores, aspect="popularity")], ratio=2)
    assert len(found) == kept and dropped == ({} if kept else {"pair_too_close": 1})


def test_a_reverted_edit_has_what_both_begin_with_as_its_context():
    kept, spoilt = "The mill is old. It stands by the river.", "The mill is old. It stinks."
    page = Example("Mills. ", (Answer(spoilt), Answer(kept)), (Judgement("order", (1, 0)),))
    ((pair,), dropped) = reverts([page])
    assert [pair.prompt + a.text for a in pair.answers] == [f"Mills. {kept}", f"Mills. {spoilt}"]
    assert pair.prompt == "Mills. The mill is old. It" and not dropped
    talk = Example(ASKED, page.answers, page.judgements)
    assert texts(reverts([talk])[0]) == [(kept, spoilt)]


def test_people_against_a_model_that_answers_the_same():
    people = [Example(ASKED, (Answer("so", by="ann"),)), Example((Message("user", "how ?"),), (Answer("thus"),))]
    drawn = [
        Answer("because", by="m", ids=(1, 2), tokenizer="t", logps=(0.0, 0.0), finish="end"),
        Answer("because it is", by="m", finish="length"),
        Answer("so", by="m", finish="end"),
    ]
    found, dropped = versus(people, [Example(ASKED, tuple(drawn))])
    assert texts(found) == [("so", "because")] and found[0].answers[1].ids is None
    assert dropped == {"answer_cut_off": 1, "pair_identical": 1, "question_without_samples": 1}


def test_a_pair_becomes_two_verdicts():
    pair = Example(ASKED, (Answer("B", ids=(1,), tokenizer="t"), Answer("A")), (Judgement("order", (1, 0)),))
    first, second = binarised([pair])
    assert texts([first, second]) == [("A good", "A bad"), ("B bad", "B good")]
    assert first.ranks() == second.ranks() == [0, 1] and first.prompt == second.prompt == ASKED
    assert second.answers[0].ids is None  # they are the tokens of another text
    assert texts(binarised([pair], " yes", " no")) == [("A yes", "A no"), ("B no", "B yes")]


def test_a_ranking_becomes_two_verdicts_for_each_pair_and_a_tie_none():
    ranking = Example(ASKED, tuple(map(Answer, "abc")), (Judgement("order", (0, (1, 2))),))
    assert len(list(ordered(ranking))) == 2 and len(binarised([ranking])) == 4
    assert binarised([Example(ASKED, ranking.answers)]) == []


def test_the_verdict_is_the_end_of_the_last_reply():
    more = (Message("user", "and ?"), Message("assistant", "also"))
    (example,) = stated([Example(ASKED, (Answer("so", more=more),), ())])
    assert example.answers[0].text == "so" and example.answers[0].more[-1] == Message("assistant", "also good")


def test_in_the_world_a_verdict_is_one_known_token_at_a_fixed_place():
    codec = Codec(load_tokenizer(located(ModelSpec.parse("world:tiny"))))
    pairs = comparisons(corpora.tranches(town(0), 40, 5))[0]
    plain = [codec.encode(e).answers for e in pairs]
    good, bad = (codec.tokenizer.convert_tokens_to_ids(word) for word in ("good", "bad"))
    assert codec.tokenizer.unk_token_id not in (good, bad)
    for verdict, known in ((" good", good), (" bad", bad)):
        for before, after in zip(plain, [codec.encode(e).answers for e in stated(pairs, verdict)]):
            assert after == [[*ids[:-1], known, ids[-1]] for ids in before]


def test_sites_of_the_world_are_read_by_their_rules():
    place = town(0)
    for examples, rule, right in ((corpora.threads, votes, 0.85), (corpora.comments, comments, 0.5)):
        pairs, _ = rule(examples(place, 400, 1))
        worth = [[gold(place, e.prompt, a.text).overall for a in e.answers] for e in pairs]
        apart = [a > b for a, b in worth if a != b]
        assert sum(apart) / len(apart) > right
    pairs, dropped = reverts(corpora.reverts(place, 50, 1))
    assert len(pairs) == 50 and not dropped


HTML = """<p>Use a <em>loop</em> &amp; count:</p>

<pre class="lang-py"><code>for i in range(3):
    if i &lt; 2:

        print("&lt;b&gt;")
</code></pre>
<ul>
<li>no <code>while  True</code></li>
<li>see <a href="https://x.org">this</a></li>
</ul><script>alert(1)</script>
<p>Done.<br>Really.</p>"""


def test_markup_goes_and_code_stays():
    text = plain_text(HTML)
    assert text.startswith(
        'Use a loop & count:\n\n```\nfor i in range(3):\n    if i < 2:\n\n        print("<b>")\n```\n\n'
    )
    assert "- no `while  True`" in text and "- see this" in text and "alert" not in text and "x.org" not in text
    assert text.endswith("Done.\nReally.")
    assert plain_text("<pre>never closed\n  x") == "```\nnever closed\n  x\n```"
    assert plain_text("no markup, a\x001\x00 b") == "no markup, a1 b"


def test_stack_exchange_as_it_is_published(tmp_path):
    row = {
        "qid": 5,
        "question": "<p>Which loop?</p>",
        "answers": [
            {"answer_id": 1, "author": "x", "pm_score": 0, "selected": False, "text": "<p>any</p>"},
            {"answer_id": 2, "author": "y", "pm_score": 4, "selected": True, "text": HTML},
        ],
        "date": "2012/01/01",
        "metadata": ["https://stackexchange.com"],
    }
    file = tmp_path / "se.jsonl"
    file.write_text(json.dumps(row))
    (example,) = found = read(str(file))
    assert found.format.name == "stack-exchange" and example.meta["qid"] == 5
    assert example.prompt == (Message("user", "Which loop?"),) and "```" in example.answers[1].text
    assert [a.meta["accepted"] for a in example.answers] == [False, True]
    assert texts(votes([example])[0]) == [(example.answers[1].text, "any")]


def shp(**changes):
    return {
        "post_id": "p", "domain": "askbaking_test", "history": "Flat bread?", "human_ref_A": "Warm it.",
        "human_ref_B": "Buy it.", "score_A": 4, "score_B": 9, "labels": 0, "score_ratio": 2.25, **changes,
    }  # fmt: skip


def test_shp_as_it_is_published(tmp_path):
    file = tmp_path / "shp.jsonl"
    file.write_text(json.dumps(shp()))
    (example,) = found = read(str(file))
    assert found.format.name == "shp" and example.meta["domain"] == "askbaking_test"
    assert texts(comments([example])[0]) == [("Buy it.", "Warm it.")]
    assert comments([example], ratio=3)[1] == {"pair_too_close": 1}
    file.write_text(json.dumps(shp(labels=1)))
    with pytest.raises(UserError, match="line 1: 'labels' does not prefer the comment with the higher score"):
        read(str(file))
