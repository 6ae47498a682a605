"""Find the layers of a network by running it on a few samples, and on more where some may take another way.

Two samples show all layers of most networks. A network that sends each sample to one of several experts shows only the
experts of the samples that it was run on, so further batches are run until every weight has been used.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from nfa.alignment.network.recording import Recording, record
from nfa.alignment.network.survey import Survey
from nfa.alignment.network.undisturbed import undisturbed


def survey_layers(model: nn.Module, batches: Iterable[Tensor], *, heads: bool = False) -> tuple[Survey, Recording]:
    """Run a network batch by batch until no other sample can bring another layer.

    Args:
        model: Network, left as it was.
        batches: Samples (n, *input shape); read as far as needed, at least the first batch.
        heads: Take query, key and value projections apart by head.

    Returns:
        What all passes found, and the recording of the last one.
    """
    survey = Survey(model)
    with undisturbed(model):
        for batch in batches:
            # A tensor that was made in torch.inference_mode has no gradient, and a copy of it has one.
            recording = record(model, batch.clone(), heads=heads, names=survey.names)
            survey.add(recording)
            if survey.complete:
                break
    return survey, recording
