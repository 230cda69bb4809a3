import java.nio.file.Files;
import java.nio.file.Path;
import loci.common.services.ServiceFactory;
import loci.formats.ome.OMEXMLMetadata;
import loci.formats.services.OMEXMLService;
import ome.units.UNITS;

/** Prints what Bio-Formats understands of an OME-XML file: schema validity, pixel size in micrometres, channels. */
public class OmeXml {
  public static void main(String[] args) throws Exception {
    String xml = Files.readString(Path.of(args[0]));
    OMEXMLService service = new ServiceFactory().getInstance(OMEXMLService.class);
    OMEXMLMetadata meta = service.createOMEXMLMetadata(xml);
    System.out.println("valid " + service.validateOMEXML(xml));
    System.out.println("x " + meta.getPixelsPhysicalSizeX(0).value(UNITS.MICROMETER));
    System.out.println("y " + meta.getPixelsPhysicalSizeY(0).value(UNITS.MICROMETER));
    System.out.println("type " + meta.getPixelsType(0));
    for (int c = 0; c < meta.getChannelCount(0); c++) {
      ome.xml.model.primitives.Color color = meta.getChannelColor(0, c);
      System.out.println("channel " + meta.getChannelName(0, c) + " " + color.getRed() + " " + color.getGreen() + " "
          + color.getBlue() + " " + color.getAlpha());
    }
  }
}
