//! Owns reading the URL of a PostgreSQL server into the settings that libpq knows
//! (<https://www.postgresql.org/docs/current/libpq-connect.html>). Pure. Errors repeat nothing of
//! the URL: any part of one that cannot be read may be a password.

/// What a URL begins with.
pub(super) const SCHEMES: &[&str] = &["postgres://", "postgresql://"];

/// The settings of a URL. Several hosts stay one text with commas, as do their ports.
pub(super) fn settings(url: &str) -> Result<Vec<(String, String)>, String> {
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or("a URL begins with postgres://")?;
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, database) = rest.split_once('/').map_or((rest, ""), |(authority, database)| (authority, database));
    let mut settings = Vec::new();
    let mut give = |name: &str, value: &str| -> Result<(), String> {
        if !value.is_empty() {
            settings.push((name.to_string(), decoded(value)?));
        }
        Ok(())
    };
    let (credentials, hosts) =
        authority.rsplit_once('@').map_or((None, authority), |(credentials, hosts)| (Some(credentials), hosts));
    if let Some(credentials) = credentials {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        if credentials.contains('@') {
            return Err("an @ in the user or the password is written as %40".to_string());
        }
        give("user", user)?;
        give("password", password)?;
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = host_and_port(host)?;
        names.push(name);
        ports.push(port);
    }
    give("host", &names.join(","))?;
    if ports.iter().any(|port| !port.is_empty()) {
        give("port", &ports.join(","))?;
    }
    if database.contains(['/', '@']) {
        return Err("a / or @ in the user, the password or the database is written as %2F or %40".to_string());
    }
    give("dbname", database)?;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or("after its ? there are settings as name=value with & between")?;
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err("after its ? there are settings as name=value with & between".to_string());
        }
        give(name, value)?;
    }
    Ok(settings)
}

/// `db:5433`, `[::1]:5433`, `/run/pg` with its slashes as %2F.
fn host_and_port(host: &str) -> Result<(&str, &str), String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(inside) => {
            let (name, after) = inside.split_once(']').ok_or("the host has a [ without a ]")?;
            (name, after.strip_prefix(':').unwrap_or(after))
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if !port.is_empty() && port.parse::<u16>().is_err() {
        return Err("the port is no number; a : or / in the password is written as %3A or %2F".to_string());
    }
    Ok((name, port))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) if (high, low) != (0, 0) => bytes.push((high * 16 + low) as u8),
            _ => return Err("a % is followed by two hexadecimal digits; a % itself is written as %25".to_string()),
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_libpq() {
        for (url, expected) in [
            ("postgres://", vec![]),
            ("postgresql://db", vec![("host", "db")]),
            ("postgres:///team", vec![("dbname", "team")]),
            (
                "postgres://ann:p%40ss%2f@db:5433/te%20am?sslmode=verify-full&connect_timeout=2",
                vec![
                    ("user", "ann"),
                    ("password", "p@ss/"),
                    ("host", "db"),
                    ("port", "5433"),
                    ("dbname", "te am"),
                    ("sslmode", "verify-full"),
                    ("connect_timeout", "2"),
                ],
            ),
            ("postgres://[::1]:1,b,c:3/", vec![("host", "::1,b,c"), ("port", "1,,3")]),
            ("postgres://%2Frun%2Fpg/x", vec![("host", "/run/pg"), ("dbname", "x")]),
            ("postgres://?service=ci", vec![("service", "ci")]),
        ] {
            let found = settings(url).unwrap();
            let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why_and_repeats_nothing() {
        for url in [
            "postgres://ann:s3cret/x@db/team",
            "postgres://ann:s3cret@x@db",
            "postgres://ann:1/s3cret@db",
            "postgres://ann:s3cret%2@db",
            "postgres://ann:%00@db",
            "postgres://ann:%ff@db",
            "postgres://[::1/db",
            "postgres://db?s3cret",
            "postgres://db?s3 cret=1",
            "postgres://db:99999",
        ] {
            let error = settings(url).unwrap_err();
            assert!(!error.contains("cret"), "{url}: {error}");
        }
    }
}
