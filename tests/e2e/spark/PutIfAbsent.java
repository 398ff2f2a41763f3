import io.delta.storage.HadoopFileSystemLogStore;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;

/** Commits to a folder as ADLS takes them: put if absent, atomically. Delta's own store for folders only looks before it renames. */
public final class PutIfAbsent extends HadoopFileSystemLogStore {
    public PutIfAbsent(Configuration configuration) {
        super(configuration);
    }

    @Override
    public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration configuration) throws IOException {
        java.nio.file.Path target = Paths.get(path.toUri().getPath());
        java.nio.file.Path draft = Files.createTempFile(target.getParent(), ".", ".draft");
        try {
            StringBuilder text = new StringBuilder();
            actions.forEachRemaining(action -> text.append(action).append('\n'));
            Files.write(draft, text.toString().getBytes(StandardCharsets.UTF_8));
            if (overwrite) {
                Files.move(draft, target, java.nio.file.StandardCopyOption.REPLACE_EXISTING, java.nio.file.StandardCopyOption.ATOMIC_MOVE);
            } else {
                Files.createLink(target, draft);
            }
        } finally {
            Files.deleteIfExists(draft);
        }
    }

    @Override
    public Boolean isPartialWriteVisible(Path path, Configuration configuration) {
        return false;
    }
}
