"""What can be set about cells: how nuclei are found, what counts as tumour, and the assay's cut-offs."""

from __future__ import annotations

from math import ceil
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.geometry import Mpp
from wsi_pipeline.stain.density import StainVectors


class CellOptions(BaseModel):
    """Geometry of nuclei and rays, in micrometres, so that it holds at any pixel size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    finder: Literal["classical", "network"] = Field(
        "classical", description="what finds nuclei: hematoxylin's peaks, or the network of cells (cellnet)"
    )
    nucleus_grid_um: float = Field(0.5, description="pixel size at which nuclei are sought, um/px (or the slide's own)")
    nucleus_sigma_um: float = Field(
        1.8, description="Gaussian sigma that a nucleus is smoothed with before seeking, um"
    )
    surround_um: float = Field(14.0, description="side of the box that a nucleus must stand out from, um")
    nucleus_spacing_um: float = Field(4.0, description="two nucleus centres are at least this far apart, um")
    nucleus_contrast: float = Field(0.02, description="least height of nucleus evidence over its surround, OD")
    dab_penalty: float = Field(
        0.5, description="share of DAB taken off hematoxylin: dense DAB scatters into the hematoxylin channel"
    )
    directions: int = Field(24, ge=8, description="rays per nucleus")
    ray_step_um: float = Field(0.35, description="spacing of samples on a ray, um")
    ray_length_um: float = Field(9.8, description="length of a ray, um: half the largest tumour cell")
    nucleus_radius_um: tuple[float, float] = Field((0.7, 6.0), description="least and largest nuclear radius, um")
    membrane_reach_um: float = Field(6.0, description="farthest membrane from the nuclear edge, um")
    shared_wall_um: float = Field(
        0.3, description="how far past the half-way line to a neighbour a membrane may lie, um"
    )
    membrane_width_um: float = Field(
        2.8,
        description="a membrane peak must fall off within this distance outwards, um (3+ is 2.14 um wide, Scheel 2018)",
    )
    solid_um: float = Field(5.0, description="a stained body that holds a disk this wide is no membrane, um")
    solid_rim_um: float = Field(1.2, description="how far the blurred rim of such a body reaches, um")
    solid_share: float = Field(
        0.65, description="a membrane is denser than any such body beside it: body OD < share * its OD"
    )
    neighbour_um: float = Field(
        14.0, description="a neighbour whose centre is farther away shares no wall, um (a large tumour cell's width)"
    )
    weak_completeness: float = Field(
        0.5, description="a cell stained in fewer directions may owe them to a neighbour's wall, share"
    )
    stronger: float = Field(0.9, description="the neighbour's membrane is then at least this many times as dense")
    hematoxylin_min: float = Field(0.02, description="least mean hematoxylin inside a nucleus, OD")
    surround_share: float = Field(
        0.55,
        description="an unringed nucleus has at most this share of its hematoxylin around it, where no membrane is",
    )
    glass_od: float = Field(0.02, description="hematoxylin and DAB together, OD, below which there is glass, no tissue")
    glass_share: float = Field(
        0.2, description="a candidate with glass beside it in this share of directions may be a piece of tissue's edge"
    )
    roughness: float = Field(
        0.4, description="an unringed nucleus has an outline whose radius varies by at most this share (SD / mean)"
    )
    tumour_max_elongation: float = Field(
        2.6, description="nuclei longer than this many widths are stroma or vessel (fibroblasts, endothelium)"
    )
    epithelium_min: float = Field(
        0.5, ge=0, le=1, description="of the network's probability of epithelium; nuclei below it are no tumour"
    )
    tumour_min_area_um2: float = Field(14.0, description="nuclei smaller than this are debris or lymphocytes, um2")
    lymphocyte_max_area_um2: float = Field(34.0, description="a lymphocyte's nucleus is at most this large, um2")
    lymphocyte_min_hematoxylin: float = Field(0.42, description="a lymphocyte's nucleus is at least this dense, OD")

    def halo_px(self, mpp: Mpp) -> int:
        """Return how many analysis px around a region decide the cells inside it, rounded up to 8.

        A cell at the border may owe its wall to a neighbour `neighbour_um` away. That neighbour's rays have to end
        inside the halo, and so has what decides that its nucleus is there: the surround, as seen from a rival centre
        one spacing farther out. Filters on the grid of nuclei are rounded to its pixels, so one of them is added.
        """
        seek_um = max(3.0 * self.nucleus_sigma_um, self.surround_um / 2) + self.nucleus_spacing_um
        reach_um = self.neighbour_um + max(seek_um, self.ray_length_um) + self.nucleus_grid_um
        return 8 * ceil(reach_um / min(mpp) / 8)


class AssayProfile(BaseModel):
    """Cut-offs of one antibody, stainer and scanner; a lab fits its own, they are no constants of nature."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    antibody: str = Field("unspecified", description="clone, such as 4B5 or HercepTest")
    scanner: str = "unspecified"
    pixel_size_um: float | None = Field(None, description="pixel size at which the cut-offs were set, um/px")
    how_set: str = Field("", description="material and method by which the cut-offs were set")
    vectors: StainVectors = StainVectors()
    faint: float = Field(0.07, gt=0, description="least height of a membrane ridge over both its sides, OD of DAB")
    moderate: float = Field(0.30, gt=0, description="membrane density from which staining is moderate, OD of DAB")
    intense: float = Field(0.70, gt=0, description="membrane density from which staining is intense, OD of DAB")
    complete: float = Field(0.72, gt=0, le=1, description="share of directions from which a membrane is complete")
    stained: float = Field(0.25, gt=0, le=1, description="share of directions below which a cell is unstained")
