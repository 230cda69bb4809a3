import loci.common.services.ServiceFactory;
import loci.formats.ImageReader;
import loci.formats.ome.OMEXMLMetadata;
import loci.formats.services.OMEXMLService;
import ome.units.UNITS;

/** Prints what Bio-Formats makes of an image file: series, resolutions with their sizes, pixel size, one pixel of each. */
public class OmeTiff {
  public static void main(String[] args) throws Exception {
    ImageReader reader = new ImageReader();
    OMEXMLService service = new ServiceFactory().getInstance(OMEXMLService.class);
    OMEXMLMetadata meta = service.createOMEXMLMetadata();
    reader.setMetadataStore(meta);
    reader.setFlattenedResolutions(false);
    reader.setId(args[0]);
    System.out.println("reader " + reader.getReader().getClass().getSimpleName());
    System.out.println("valid " + service.validateOMEXML(service.getOMEXML(meta)));
    System.out.println("series " + reader.getSeriesCount());
    System.out.println("name " + meta.getImageName(0));
    System.out.println("x " + meta.getPixelsPhysicalSizeX(0).value(UNITS.MICROMETER));
    System.out.println("y " + meta.getPixelsPhysicalSizeY(0).value(UNITS.MICROMETER));
    System.out.println("rgb " + reader.isRGB());
    for (int level = 0; level < reader.getResolutionCount(); level++) {
      reader.setResolution(level);
      int x = Integer.parseInt(args[1]) >> level;
      int y = Integer.parseInt(args[2]) >> level;
      byte[] pixel = reader.openBytes(0, x, y, 1, 1);
      StringBuilder values = new StringBuilder();
      for (byte value : pixel) {
        values.append(" ").append(value & 255);
      }
      System.out.println("level " + reader.getSizeX() + " " + reader.getSizeY() + values);
    }
    reader.close();
  }
}
