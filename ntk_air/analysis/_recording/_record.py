"""What a recorder measured over training: retrieval, and the movement of the kernel."""

from __future__ import annotations

from ..._results import result, static
from ..._typing import Array, Float, Int
from ...dynamics import RetrievalCurves


@result
class KernelMovement:
    """The empirical NTK Θ_t at K steps of training, the first of them before training.

    "Own basis" is that of the eigenvectors u_k of Θ_t itself. Directions inside a near-degenerate
    cluster of eigenvalues are arbitrary in it: compare sums over such a cluster only.

    Attributes:
        steps: (K,), the first 0.
        times: (K,), learning rate × step.
        eigenvalues: (K, r), descending.
        distance: (K,), ‖Θ_t − Θ_0‖_F / ‖Θ_0‖_F.
        similarity: (K,), ⟨Θ_t, Θ_0⟩ / (‖Θ_t‖_F ‖Θ_0‖_F): 1 for a kernel that has only been scaled.
        subspace_overlap: (K, R), ‖U_kᵀV_k‖²_F / k of the leading k directions of Θ_t and Θ_0, for
            each k of ``overlap_ranks``.
        alignment_clean: (K,), ⟨Θ_t, yyᵀ⟩ / (‖Θ_t‖_F ‖yyᵀ‖_F).
        alignment_observed: (K,), the same with ỹ.
        air_index: (K,), mean over the r directions of cumulative signal less cumulative noise
            energy, in own basis.
        signal_energy: (K, r), ‖u_kᵀy‖² / ‖y‖² in own basis.
        noise_energy: (K, r), ‖u_kᵀξ‖² / ‖ξ‖² in own basis.
        per_direction: (K, r), fraction of ỹ − f_0 fitted in each direction of own basis.
        signal_by_direction: (K, r), ⟨u_kᵀ(f_t − f_0), u_kᵀy⟩ / (κ‖y‖²) in own basis; the sum over
            all n directions is the signal retrieved.
        noise_by_direction: (K, r), ⟨u_kᵀ(f_t − f_0), u_kᵀξ⟩ / ‖ξ‖², likewise.
        complexity_clean: (K,), supervision complexity sqrt(yᵀΘ_t⁻¹y · tr Θ_t)/n of the clean
            targets. NaN where Θ_t⁻¹ is not known; ``complexity_missing`` says why.
        complexity_observed: (K,), of the observed targets ỹ.
        complexity_outputs: (K,), of the current outputs f_t.
        trusted_rank: (K,), eigenvalues of Θ_t above round-off.
        overlap_ranks: the R values of k.
        complexity_missing: why entries of the complexities are NaN; empty where none is.

    Sources: retrieval and index, arXiv:1910.01255; alignment, Cristianini et al. (NeurIPS 2001);
    movement of the kernel, Fort et al. (arXiv:2010.15110); complexity, arXiv:2301.12245.
    """

    steps: Int[Array, " K"]
    times: Float[Array, " K"]
    eigenvalues: Float[Array, "K r"]
    distance: Float[Array, " K"]
    similarity: Float[Array, " K"]
    subspace_overlap: Float[Array, "K R"]
    alignment_clean: Float[Array, " K"]
    alignment_observed: Float[Array, " K"]
    air_index: Float[Array, " K"]
    signal_energy: Float[Array, "K r"]
    noise_energy: Float[Array, "K r"]
    per_direction: Float[Array, "K r"]
    signal_by_direction: Float[Array, "K r"]
    noise_by_direction: Float[Array, "K r"]
    complexity_clean: Float[Array, " K"]
    complexity_observed: Float[Array, " K"]
    complexity_outputs: Float[Array, " K"]
    trusted_rank: Int[Array, " K"]
    overlap_ranks: tuple[int, ...] = static(default=())
    complexity_missing: str = static(default="")


@result
class AIRRecord:
    """Anisotropic information retrieval over the training of one network.

    Attributes:
        steps: (T,), the first 0: the network as it was given.
        outputs: f_t (T, n, C) on the training points.
        measured: retrieved signal and noise, in total (T,) and per direction (T, r) in the
            eigenbasis of the NTK at initialisation.
        predicted: the same in closed form from that NTK, exact for constant learning rate and
            momentum, as gradient flow otherwise. Its ``draw_signal`` and ``draw_noise`` are what
            the measured curves follow as long as the kernel stands still.
        signal_by_direction: (T, r), ⟨u_kᵀ(f_t − f_0), u_kᵀy⟩ / (κ‖y‖²) in the eigenbasis at
            initialisation; the sum over all n directions is ``signal``.
        noise_by_direction: (T, r), ⟨u_kᵀ(f_t − f_0), u_kᵀξ⟩ / ‖ξ‖², likewise.
        kernel: how the NTK itself moved, and retrieval in its current eigenbasis.
        retention: (), κ.
        test_accuracy: (T,); None without test points.
    """

    steps: Int[Array, " T"]
    outputs: Float[Array, "T n C"]
    measured: RetrievalCurves
    predicted: RetrievalCurves
    signal_by_direction: Float[Array, "T r"]
    noise_by_direction: Float[Array, "T r"]
    kernel: KernelMovement
    retention: Float[Array, ""]
    test_accuracy: Float[Array, " T"] | None = None

    @property
    def times(self) -> Float[Array, " T"]:
        """Learning rate × step (T,)."""
        return self.measured.times

    @property
    def signal(self) -> Float[Array, " T"]:
        """Retrieved signal ⟨f_t − f_0, y⟩ / (κ‖y‖²), (T,)."""
        return self.measured.signal

    @property
    def noise(self) -> Float[Array, " T"]:
        """Retrieved noise ⟨f_t − f_0, ξ⟩ / ‖ξ‖², (T,)."""
        return self.measured.noise

    @property
    def per_direction(self) -> Float[Array, "T r"]:
        """Fraction of ỹ − f_0 fitted in each direction of the initial eigenbasis, (T, r)."""
        return self.measured.per_direction
