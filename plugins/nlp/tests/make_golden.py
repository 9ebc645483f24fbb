"""Writes golden.npz: what Hugging Face's transformers (5.24.0, torch 2.13.0) makes of the models in golden_inputs.py.

Run it by hand where transformers and torch are installed: `python plugins/nlp/tests/make_golden.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden_inputs as given
import numpy as np
import torch
import transformers


def filled(model: Any) -> Any:
    with torch.no_grad():
        for name, one in model.named_parameters():
            one.copy_(torch.from_numpy(given.values(name, tuple(one.shape))))
    return model.eval()


def names(model: Any, tied: bool = False) -> np.ndarray[Any, Any]:
    listed = [
        f"{k} {tuple(v.shape)}" for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")
    ]
    return np.array(listed)


def gradients(model: Any, prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}.grad.{name}": one.grad.numpy()
        for name, one in model.named_parameters()
        if one.grad is not None
    }


def bert() -> dict[str, Any]:
    ids, mask = torch.from_numpy(given.ids(given.BERT["vocab_size"])), torch.from_numpy(given.mask("right"))
    kinds = torch.from_numpy(given.kinds())
    plain = filled(transformers.BertModel(transformers.BertConfig(**given.BERT)))
    out = plain(ids, mask, kinds)
    config = transformers.BertConfig(**given.BERT, num_labels=given.LABELS)
    judge = filled(transformers.BertForSequenceClassification(config))
    said = judge(ids, mask, kinds, labels=torch.tensor([2, 0]))
    said.loss.backward()
    return {
        "bert.names": names(plain), "bert.hidden": out.last_hidden_state.detach().numpy(),
        "bert.pooled": out.pooler_output.detach().numpy(), "judge.names": names(judge),
        "judge.logits": said.logits.detach().numpy(), "judge.loss": said.loss.detach().numpy(),
        **gradients(judge, "judge"),
    }  # fmt: skip


def llama(case: str, changes: dict[str, Any]) -> dict[str, Any]:
    settings = {**given.LLAMA, **changes}
    rope = {
        "rope_theta": settings.pop("rope_theta"),
        **(settings.pop("rope_scaling", None) or {"rope_type": "default"}),
    }
    config = transformers.LlamaConfig(
        **settings, rope_parameters=rope, pad_token_id=None, bos_token_id=1, eos_token_id=2
    )
    model = filled(transformers.LlamaForCausalLM(config))
    ids, left = torch.from_numpy(given.ids(settings["vocab_size"])), torch.from_numpy(given.mask("left"))
    said = model(ids, labels=ids)
    found = {
        f"{case}.names": names(model, bool(settings.get("tie_word_embeddings"))),
        f"{case}.logits": said.logits.detach().numpy()[:, -given.KEPT :],
        f"{case}.padded": model(ids, attention_mask=left).logits.detach().numpy()[:, -given.KEPT :],
        f"{case}.loss": said.loss.detach().numpy(),
        f"{case}.generated": model.generate(
            ids,
            attention_mask=left,
            max_new_tokens=given.NEW,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        ).numpy(),
    }
    if case == "plain":
        said.loss.backward()
        found |= gradients(model, case)
    return found


def main() -> None:
    found = bert()
    for case, changes in given.LLAMAS.items():
        found |= llama(case, changes)
    place = Path(__file__).with_name("golden.npz")
    np.savez_compressed(place, **found)
    print(f"{place}: {len(found)} arrays, {place.stat().st_size} bytes")


if __name__ == "__main__":
    main()
