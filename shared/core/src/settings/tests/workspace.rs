//! The workspace and the ways to sign in: which keys go together, what they become, and what is refused.

use super::*;
use crate::evolve::Between;

const AZURE: &str = "\
workspace_url = 'https://adb-1.2.azuredatabricks.net'
catalog = 'segment'
lake = 'abfss://events@acme.dfs.core.windows.net/bronze'
";

const AWS: &str = "\
workspace_url = 'https://acme.cloud.databricks.com'
catalog = 'segment'
lake = 's3://acme/bronze'
";

fn destination(text: &str, variables: &[&str]) -> Destination {
    load(text, variables).unwrap_or_else(|fault| panic!("{text}: {fault}")).destination.unwrap()
}

#[test]
fn ways_to_sign_in_are_told_by_the_fields_that_are_filled() {
    let word = |auth: &Auth| match auth {
        Auth::Databricks { .. } => "oauth",
        Auth::Entra { tenant_id: None, .. } => "entra",
        Auth::Entra { tenant_id: Some(_), .. } => "entra with tenant",
        Auth::Token(_) => "token",
        Auth::ManagedIdentity { client_id: None } => "identity",
        Auth::ManagedIdentity { client_id: Some(_) } => "identity of a user",
    };
    let ours = ["INLET_PRINCIPAL_CLIENT_ID=ours", "INLET_PRINCIPAL_CLIENT_SECRET=dose1", "S=dose2"];
    for (file, auth, wanted, storage) in [
        (AWS, "client_id = 'a'\nclient_secret = 'env:S'", "oauth", "Ambient"),
        (AWS, "method = 'oauth'\nclient_id = 'a'\nclient_secret = 'env:S'", "oauth", "Ambient"),
        (AWS, "token = 'env:S'", "token", "Ambient"),
        (AZURE, "client_id = 'a'\nclient_secret = 'env:S'", "oauth", "Ambient"),
        (AZURE, "tenant_id = 'acme.onmicrosoft.com'", "entra with tenant", "Principal"),
        (AZURE, "", "entra", "Principal"),
        (AZURE, "method = 'entra'", "entra", "Principal"),
        (AZURE, "client_id = ''\nclient_secret = ''", "entra", "Principal"),
        (AZURE, "client_id = 'a'\nclient_secret = 'env:S'\nmethod = 'entra'", "entra", "Principal"),
        (AZURE, "authority = 'login.microsoftonline.us'", "entra", "Principal"),
        (AZURE, "token = 'env:S'", "token", "Ambient"),
        (AZURE, "method = 'managed_identity'", "identity", "ManagedIdentity"),
        (AZURE, "method = 'managed_identity'\nclient_id = 'a'", "identity of a user", "ManagedIdentity"),
    ] {
        let text = format!("{file}[auth]\n{auth}");
        let settings = load(&text, &ours).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(word(&settings.destination.unwrap().connection.auth), wanted, "{text}");
        assert!(format!("{:?}", settings.storage).starts_with(storage), "{text}: {:?}", settings.storage);
    }
    let by_variable = destination(AWS, &["INLET_AUTH_CLIENT_ID=a", "INLET_AUTH_CLIENT_SECRET=dose3"]);
    let Auth::Databricks { client_secret, .. } = by_variable.connection.auth else { panic!() };
    assert_eq!(client_secret.expose(), "dose3");
}

#[test]
fn sign_ins_that_are_half_filled_or_contradict_themselves_are_refused() {
    for (file, auth, says) in [
        (AWS, "", "`auth.client_id` is missing: nothing says how to sign in"),
        (AWS, "client_id = 'a'", "`auth.client_secret` is missing: `auth.client_id` is given"),
        (AWS, "client_secret = 'env:S'", "`auth.client_id` is missing: `auth.client_secret` is given"),
        (AWS, "method = 'oauth'", "`auth.client_id` is missing: the method `oauth`"),
        (AWS, "client_id = 'a'\nclient_secret = 'dose2'", "holds a secret in the clear"),
        (AWS, "client_id = 'a'\nclient_secret = 'env:T'", "the variable `T`, which is not set"),
        (AWS, "method = 'token'", "`auth.token` is missing"),
        (AWS, "token = 'env:S'\nclient_id = 'a'", "`auth.client_id` (inlet.toml, line 6) does not go with"),
        (AWS, "method = 'oauth'\nclient_id = 'a'\nclient_secret = 'env:S'\ntenant_id = 'a.b'", "`auth.tenant_id`"),
        (AWS, "method = 'password'", "must be `oauth` or `entra` or `token` or `managed_identity`"),
        (AWS, "method = 'managed_identity'", "only workspaces on Azure"),
        (AWS, "client_id = 'a'\nclient_secret = 'env:S'\ntenant_id = 'a.b'", "only workspaces on Azure"),
        (AZURE, "", "`INLET_PRINCIPAL_CLIENT_ID` and `INLET_PRINCIPAL_CLIENT_SECRET` are not set"),
        (AZURE, "tenant_id = 'common'", "is no tenant"),
        (AZURE, "tenant_id = '../x'", "is no tenant"),
        (AZURE, "tenant_id = 'a.b'\nclient_id = 'a'", "`auth.client_secret` is missing"),
        (AZURE, "method = 'managed_identity'\nclient_secret = 'env:S'", "does not go with"),
        (AZURE, "authority = 'https://login.evil.example'", "`login.evil.example`, where Microsoft Entra does not"),
        (AZURE, "authority = 'http://login.microsoftonline.com'", "without encryption"),
        (AZURE, "authority = 'https://me:dose2@login.microsoftonline.com'", "is no web address"),
    ] {
        let said = refusal(&format!("{file}[auth]\n{auth}"), &["S=dose1"]);
        assert!(said.contains(says), "{auth}: {said}");
        assert!(!said.contains("dose"), "{said}");
    }
}

#[test]
fn the_installations_own_secret_may_stand_elsewhere_and_is_no_reference() {
    let secret = |text: &str| load(AZURE, &["INLET_PRINCIPAL_CLIENT_ID=ours", text, "S=dose2"]);
    assert!(secret("INLET_PRINCIPAL_CLIENT_SECRET=env:S").is_ok());
    let unresolved = "INLET_PRINCIPAL_CLIENT_SECRET=@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/n)";
    let said = secret(unresolved).unwrap_err().to_string();
    assert!(said.contains("INLET_PRINCIPAL_CLIENT_SECRET") && said.contains("Key Vault"), "{said}");
}

#[test]
fn an_authority_of_ones_own_must_be_allowed() {
    let ours = ["INLET_PRINCIPAL_CLIENT_ID=ours", "INLET_PRINCIPAL_CLIENT_SECRET=dose1"];
    let authority = |text: &str| {
        let url = destination(&format!("allow_host = ['127.0.0.1']\n{AZURE}{text}"), &ours).connection.entra_authority;
        url.map(String::from)
    };
    assert_eq!(authority(""), None);
    let own = authority("auth.authority = 'http://127.0.0.1:99/tenant'");
    assert_eq!(own.as_deref(), Some("http://127.0.0.1:99/"));
    let sovereign = authority("auth.authority = 'login.chinacloudapi.cn'");
    assert_eq!(sovereign.as_deref(), Some("https://login.chinacloudapi.cn/"));
}

#[test]
fn the_lake_signs_in_as_storage_says() {
    let aws = format!("{AWS}auth.token = 'env:S'\n");
    let azure = format!("{AZURE}auth.token = 'env:S'\n");
    for (text, wanted) in [
        ("lake = './lake'".to_owned(), "Ambient"),
        (format!("{aws}storage.method = 'ambient'"), "Ambient"),
        (format!("{aws}storage.method = 'vended'"), "Vended"),
        (format!("{azure}storage.method = 'ambient'"), "Ambient"),
        (format!("{azure}storage.method = 'managed_identity'"), "ManagedIdentity"),
        (format!("{azure}[storage]\nclient_id = 'a'\nclient_secret = 'env:S'"), "Principal { tenant_id: None"),
        (
            "lake = 'az://c/x'\n[storage]\nclient_id = 'a'\nclient_secret = 'env:S'\ntenant_id = 'a.b'".to_owned(),
            "Principal { tenant_id: Some",
        ),
    ] {
        let settings = load(&text, &["S=dose1"]).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert!(format!("{:?}", settings.storage).starts_with(wanted), "{text}: {:?}", settings.storage);
    }
    for (text, says) in [
        (format!("{aws}storage.method = 'principal'"), "the lake is not in Azure"),
        (format!("{aws}storage.client_id = 'a'"), "the lake is not in Azure"),
        (format!("{azure}storage.method = 'principal'"), "INLET_PRINCIPAL_CLIENT_ID"),
        (format!("{azure}[storage]\nmethod = 'vended'\nclient_id = 'a'"), "does not go with `storage.method`"),
        ("lake = 'az://c/x'\nstorage.method = 'vended'".to_owned(), "`workspace_url` is missing"),
        (
            "lake = 'az://c/x'\n[storage]\nclient_id = 'a'\nclient_secret = 'env:S'".to_owned(),
            "`storage.tenant_id` is missing",
        ),
    ] {
        let said = refusal(&text, &["S=dose1"]);
        assert!(said.contains(says), "{text}: {said}");
    }
}

#[test]
fn a_warehouse_of_ones_own_is_small_unless_told() {
    let own = |text: &str| match destination(&format!("{AWS}auth.token = 'env:S'\n{text}"), &["S=dose1"]).warehouse {
        WarehouseChoice::Create(spec) => spec,
        other => panic!("{other:?}"),
    };
    let usual = WarehouseSpec {
        name: "inlet-segment".to_owned(),
        cluster_size: "2X-Small".to_owned(),
        min_clusters: 1,
        max_clusters: 1,
        serverless: true,
        auto_stop_minutes: 10,
    };
    assert_eq!(own("warehouse = 'create'"), usual);
    assert_eq!(own("name = 'renamed'\n[warehouse]\nmin_clusters = 1"), usual);
    let told = own("[warehouse]\nsize = 'Small'\nmin_clusters = 2\nserverless = false\nauto_stop_minutes = 30");
    assert_eq!((told.cluster_size.as_str(), told.min_clusters, told.max_clusters), ("Small", 2, 2));
    assert_eq!((told.serverless, told.auto_stop_minutes), (false, 30));
    for (text, says) in [
        ("warehouse = 'make'", "must be `create`, not `make`"),
        ("warehouse.size = 'Smal'", "did you mean `Small`?"),
        ("[warehouse]\nmin_clusters = 3\nmax_clusters = 2", "is 2, less than `warehouse.min_clusters`"),
        ("warehouse.max_clusters = 41", "must be at most 40"),
        ("warehouse.max_clusters = 5_000_000_000", "must be at most 4294967295"),
        ("[warehouse]\nserverless = false\nauto_stop_minutes = 5", "must be at least 10"),
        ("warehouse = 'create'\nhttp_path = 'dd43ee29fedd958d'", "keep one of the two"),
    ] {
        let said = refusal(&format!("{AWS}auth.token = 'env:S'\n{text}"), &["S=dose1"]);
        assert!(said.contains(says), "{text}: {said}");
    }
    let none = destination(&format!("{AWS}auth.token = 'env:S'"), &["S=dose1"]).warehouse;
    assert_eq!(none, WarehouseChoice::None);
}

#[test]
fn parts_of_a_workspace_need_one_and_must_fit_together() {
    let (aws, azure) = (format!("{AWS}auth.token = 'env:S'\n"), format!("{AZURE}auth.token = 'env:S'\n"));
    for (text, says) in [
        ("catalog = 'x'\n[auth]\ntoken = 'env:S'".to_owned(), "`workspace_url` is missing: `catalog`, [auth] needs it"),
        (aws.replace("lake =", "name ="), "`http_path` is missing: only a SQL warehouse writes managed tables"),
        (format!("tables = 'external'\n{}", aws.replace("lake =", "name =")), "`lake` is missing: external tables"),
        (aws.replace("catalog =", "name ="), "`catalog` is missing"),
        (format!("{aws}schema_changes = 'warehouse'"), "do not coordinate"),
        ("schema_changes = 'warehouse'".to_owned(), "`workspace_url` is missing"),
        (format!("{aws}port = 70000"), "must be at most 65535"),
        (aws.replace("s3://acme/bronze", "s3://acme/bronze?X-Amz-Signature=dose2"), "must be a URL without password"),
        (aws.replace("s3://acme/bronze", "https://me:dose2@acme/bronze"), "must be a URL without password"),
        (
            format!("{azure}http_path = '/sql/1.0/warehouses/dd43ee29fedd958d?o=2'").replace(".net", ".net/?o=1"),
            "belongs to the workspace 2, `workspace_url` to 1",
        ),
    ] {
        let said = refusal(&text, &["S=dose1"]);
        assert!(said.contains(says), "{text}: {said}");
        assert!(!said.contains("dose"), "{said}");
    }
    assert_eq!(
        load(&format!("{azure}schema_changes = 'warehouse'"), &["S=x"]).unwrap().evolution.schema_changes,
        SchemaChanges::Warehouse
    );
}

#[test]
fn what_works_and_may_surprise_is_a_warning() {
    let text =
        format!("{AWS}port = 8443\nhttp_path = 'wh-0001'\n[auth]\nclient_id = 'my-principal'\nclient_secret = 'env:S'");
    let settings = load(&text, &["S=dose1"]).unwrap();
    assert_eq!(settings.warnings.len(), 3, "{:?}", settings.warnings);
    for (warning, says) in settings.warnings.iter().zip(["`http_path` ends with", "`port` is 8443", "is no GUID"]) {
        assert!(warning.contains(says), "{warning}");
    }
    let destination = settings.destination.unwrap();
    assert_eq!(destination.connection.url.as_str(), "https://acme.cloud.databricks.com:8443/");
    assert_eq!(destination.warehouse, WarehouseChoice::Id("wh-0001".to_owned()));
}

const MANAGED: &str = "\
workspace_url = 'https://acme.cloud.databricks.com'
catalog = 'segment'
http_path = '/sql/1.0/warehouses/dd43ee29fedd958d'
port = 443
auth.client_id = '8a1f4c52-7d0b-4e0e-9a51-3f6f0d1c2b3a'
auth.client_secret = 'env:S'
";

#[test]
fn without_a_lake_the_tables_are_managed() {
    for text in [MANAGED.to_owned(), format!("{MANAGED}tables = 'managed'")] {
        let settings = load(&text, &["S=dose1"]).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert!(settings.has_managed_tables() && settings.lake.is_none() && settings.warnings.is_empty());
        assert_eq!((settings.budget().window.as_secs(), settings.budget().between), (900, Between::Uses));
    }
    let told = format!("{MANAGED}every = '5m'\nnever_between = ['08:00-18:30', '22:00-06:00']\nmax_wakes_per_day = 3");
    let budget = load(&told, &["S=dose1"]).unwrap().budget();
    assert_eq!((budget.window.as_secs(), budget.never_between.len(), budget.wakes_per_day), (300, 2, Some(3)));
    let external = load(&format!("{AWS}auth.token = 'env:S'\nwindow = '1h'"), &["S=dose1"]).unwrap();
    assert!(!external.has_managed_tables());
    assert_eq!((external.budget().window.as_secs(), external.budget().between), (3_600, Between::Wakes));
    let own = MANAGED.replace("http_path = '/sql/1.0/warehouses/dd43ee29fedd958d'", "warehouse = 'create'");
    assert!(
        matches!(destination(&own, &["S=dose1"]).warehouse, WarehouseChoice::Create(spec) if spec.max_clusters == 6)
    );
}

#[test]
fn keys_of_external_tables_do_not_go_with_managed_ones_and_the_other_way_round() {
    for (key, says) in [
        ("lake = 's3://acme/bronze'\ntables = 'managed'", "`lake` (inlet.toml, line 7) goes with external tables"),
        ("schema_changes = 'warehouse'", "`schema_changes` (inlet.toml, line 7) goes with external tables"),
        ("window = '1h'", "`every` says when"),
        ("hold_limit = '1h'", "`hold_limit`"),
        ("storage.method = 'vended'", "managed tables need none"),
        ("never_between = ['8-18']", "must be hours of the day, not `8-18`"),
        ("tables = 'external'", "`lake` is missing: external tables"),
    ] {
        let said = refusal(&format!("{MANAGED}{key}"), &["S=dose1"]);
        assert!(said.contains(says), "{key}: {said}");
    }
    let said = refusal(&format!("{AWS}auth.token = 'env:S'\nevery = '5m'"), &["S=dose1"]);
    assert!(said.contains("`every` (inlet.toml, line 5) goes with managed tables"), "{said}");
    assert!(refusal("tables = 'managed'", &[]).contains("`workspace_url` is missing: managed tables"));
}
