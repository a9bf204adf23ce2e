import java.nio.file.Path;

/**
 * The part of the takeover test that runs inside the official client; see ../takeover.
 *
 *   write  NAMESRV BROKER GENERATION OUT [transactions]   stores a generation of everything; OUT gets the receipts
 *   dump   NAMESRV BROKER DIR [keys] [exact]              all that clients can see, as text files
 *   arrive NAMESRV BROKER TOPIC COUNT DELAY_MS            waits for delayed messages; each comes once and not too early
 *   resume NAMESRV BROKER GROUP TOPIC…                    a consumer gets what its group has not committed, and nothing else
 *
 * The exit status is 0 if all was as it must be; else the last line of the error output says what was not.
 */
public final class Takeover {
    public static void main(String[] args) {
        try (Cluster cluster = new Cluster(args[1], args[2])) {
            switch (args[0]) {
                case "write" -> new Write(cluster, Integer.parseInt(args[3])).run(Path.of(args[4]), has(args, "transactions"));
                case "dump" -> new Dump(cluster, Path.of(args[3])).run(has(args, "keys"), has(args, "exact"));
                case "arrive" -> Arrive.run(cluster, args[3], Integer.parseInt(args[4]), Long.parseLong(args[5]));
                case "resume" -> new Resume(cluster, args[3]).run(java.util.List.of(args).subList(4, args.length));
                default -> throw new IllegalArgumentException("what is " + args[0] + "?");
            }
        } catch (Throwable e) {
            e.printStackTrace();
            for (Throwable cause = e.getCause(); cause != null; cause = cause.getCause()) System.err.println("because of " + cause);
            System.err.println(e.getMessage() == null ? e : e.getMessage());
            System.exit(1);
        }
        System.exit(0);
    }

    private static boolean has(String[] args, String word) { return java.util.List.of(args).contains(word); }
}
